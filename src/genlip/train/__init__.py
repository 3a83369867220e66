"""Training: a recipe in, a model out. `train(load_recipe("quickstart"))` is the command `genlip train quickstart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genlip.lazy import lazy

if TYPE_CHECKING:
    from genlip.data.tally import SkippedTooMany
    from genlip.train.loop import Interrupted, train
    from genlip.train.recipe import RecipeError, Run, load_recipe
    from genlip.train.update import NonFinite

__all__ = ["Interrupted", "NonFinite", "RecipeError", "Run", "SkippedTooMany", "load_recipe", "train"]

# Imported when first used: the loop needs torch.distributed.checkpoint, a second that captions do without.
_HOMES = {
    "Interrupted": "loop",
    "NonFinite": "update",
    "RecipeError": "recipe",
    "Run": "recipe",
    "SkippedTooMany": "loop",
    "load_recipe": "recipe",
    "train": "loop",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
