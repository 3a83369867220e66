"""Tasks by name: which ones a recipe may name as its `task`, and where each is defined.

In: a name. Out: the class that recipes of the task are read into, and the class that the training engine runs. Both are
given as "module:name" and imported when they are used, because tasks are defined in packages that import this one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from genlip.model.fields import shown
from genlip.suggestions import did_you_mean

__all__ = ["TASKS", "TaskEntry", "check_task", "import_object"]


class TaskEntry(NamedTuple):
    """Where the classes of a task are defined, as "module:name".

    Attributes:
        run: `Run`, or a subclass of it with the recipe sections of the task.
        task: a `genlip.train.task.Task`.
    """

    run: str
    task: str


TASKS = {
    "genlip": TaskEntry("genlip.recipes.run:Run", "genlip.train.genlip_task:GenLIPTask"),
    "mllm": TaskEntry("genlip.mllm.run:MLLMRun", "genlip.train.mllm_task:MLLMTask"),
    "siglip": TaskEntry("genlip.baselines.run:ContrastiveRun", "genlip.baselines.contrastive:SiglipTask"),
    "clip": TaskEntry("genlip.baselines.run:ClipRun", "genlip.baselines.contrastive:ClipTask"),
    "encoder_decoder": TaskEntry("genlip.baselines.run:DecoderRun", "genlip.baselines.decoders:EncoderDecoderTask"),
    "cap": TaskEntry("genlip.baselines.run:CapRun", "genlip.baselines.decoders:CapTask"),
    "genlip_from_language": TaskEntry("genlip.baselines.run:LanguageRun", "genlip.baselines.language_task:LanguageTask"),
    "genlip_variant": TaskEntry("genlip.baselines.run:VariantRun", "genlip.baselines.variants:VariantTask"),
}


def check_task(name: Any) -> None:
    """Raise ValueError if there is no task of this name."""
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"task is {shown(str(name))}: need one of {', '.join(TASKS)}{did_you_mean(str(name), TASKS)}")


def import_object(name: str) -> Any:
    """The object named by "module:name"."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
