"""Training: a recipe in, a model out. `train(load_recipe("quickstart"))` is the command `genlip train quickstart`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genlip.data.tally import SkippedTooMany
    from genlip.train.loop import Interrupted, train
    from genlip.train.recipe import RecipeError, Run, load_recipe
    from genlip.train.update import NonFinite

__all__ = ["Interrupted", "NonFinite", "RecipeError", "Run", "SkippedTooMany", "load_recipe", "train"]

# Imported when first used: the loop needs torch.distributed.checkpoint, a second that captions do without.
_HOMES = {
    "Interrupted": "genlip.train.loop",
    "NonFinite": "genlip.train.update",
    "RecipeError": "genlip.train.recipe",
    "Run": "genlip.train.recipe",
    "SkippedTooMany": "genlip.data.tally",
    "load_recipe": "genlip.train.recipe",
    "train": "genlip.train.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'genlip.train' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
