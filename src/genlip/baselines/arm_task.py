"""What the tasks of other objectives share: they start anew, and write their models so that all parts can be read again.

In: a run. Out: the folder that `genlip.Speaker.load` reads, where the encoder is a GenLIP; it has no tokenizer, so the model
does not speak. Beside it are

    arm/model.safetensors    all weights under the arm's names
    arm/tokenizer.json, arm/preprocessing.json
    arm/recipe.yaml          settings of the run, by which `load_arm` builds the model again
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genlip.data.captions import load_tokenizer
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.data.sources import Source
from genlip.model import checkpoint
from genlip.model.files import one_line
from genlip.model.writing import write_text
from genlip.recipes.recipe import load_recipe, to_yaml
from genlip.recipes.run import Run
from genlip.speaker import Speaker
from genlip.train.captioned_task import CaptionedTask
from genlip.train.task import task_class

__all__ = ["ArmTask", "arm_folder", "load_arm", "load_encoder", "write_arm"]

_WEIGHTS, _RECIPE, _TOKENIZER = "model.safetensors", "recipe.yaml", "tokenizer.json"


def arm_folder(folder: str | Path) -> Path:
    """Where the whole model of a folder is."""
    return Path(folder) / "arm"


def write_arm(task: CaptionedTask, folder: Path, weights: dict[str, Tensor]) -> None:
    """Write the whole model of a task into the folder of its run's model."""
    arm, run = arm_folder(folder), task.run
    save_preprocessing(arm, Preprocessing(images=run.images, captions=run.captions), task.captions.tokenizer)
    save_file({name: value.contiguous() for name, value in weights.items()}, arm / _WEIGHTS)
    write_text(arm / _RECIPE, to_yaml(run))


def load_arm(folder: str | Path) -> tuple[Any, Any]:
    """The task and the whole model of the folder of a run, in evaluation mode, on the GPU if there is one.

    Raises ValueError if it is another folder or damaged.
    """
    arm = arm_folder(folder)
    if not (arm / _RECIPE).is_file():
        raise ValueError(f"{folder} holds no {arm.name}/{_RECIPE}: need the model of a run of one of the other objectives")
    run = load_recipe(arm / _RECIPE)
    kind: Any = task_class(run)
    run = kind.moved(run, arm) if hasattr(kind, "moved") else run
    task = kind(run, load_tokenizer(arm).to_str())
    model: nn.Module = task.build("sdpa")
    try:
        model.load_state_dict(load_file(arm / _WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(f"{arm / _WEIGHTS}: not the weights of its {_RECIPE}: {one_line(str(error))}") from error
    return task, model.to(_device()).eval()


def load_encoder(folder: str | Path) -> Speaker:
    """The encoder of the model of a run of any objective; registers and blocks of language models are read, too."""
    if (Path(folder) / "config.json").is_file():
        return Speaker.load(folder, device=_device())
    task, model = load_arm(folder)
    return Speaker(model, task.run.images)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class ArmTask(CaptionedTask):
    """A task whose model has an `encoder` that `genlip.baselines.towers.encoder_alone` built."""

    @classmethod
    def find_processor(cls, run: Run, source: Source, newest: Path | None) -> str:
        """The tokenizer of the checkpoint, of `tokenizer`, or one trained on the captions.

        Refuses `init_from`, and what only a part of the model would do.
        """
        if run.init_from:
            raise ValueError(
                f"init_from {run.init_from}: runs of task {run.task} start from random weights; set --init_from ''"
            )
        settings = {"compile": run.compile, "activation_checkpointing": run.activation_checkpointing,
                    "model.drop_path_rate": run.model.drop_path_rate}  # fmt: skip
        if given := [f"{name} {value}" for name, value in settings.items() if value]:
            raise ValueError(
                f"{', '.join(given)}: runs of task {run.task} do not have it in all of their parts; set it to false or 0"
            )
        return super().find_processor(run, source, newest and arm_folder(newest))

    def load_initial(self, model: Any) -> None:
        """The random weights stay."""

    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """The encoder as a model of genlip, and all weights."""
        encoder = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
        checkpoint.save_weights(encoder, dataclasses.replace(self.run.model, vocab_size=1, text_embed_dim=1), folder)
        save_preprocessing(
            folder, Preprocessing(images=self.run.images, captions=self.run.captions), self.captions.tokenizer
        )
        (folder / _TOKENIZER).unlink()
        write_arm(self, folder, weights)
