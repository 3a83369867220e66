"""The plugin of lmms-eval: what the entry point `lmms_eval.models` of this package names.

In: nothing. Out: the names of our models and of their classes. lmms-eval imports this module whenever it starts, and one
that fails hides the plugins after it. So it imports nothing but a class of lmms-eval, and that when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

__all__ = ["models"]


def models() -> list[ModelManifest]:
    """One model, "genlip": `lmms-eval --model genlip --model_args pretrained=FOLDER --tasks …`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [ModelManifest(model_id="genlip", chat_class_path="genlip.mllm.lmms_model.LmmsModel")]
