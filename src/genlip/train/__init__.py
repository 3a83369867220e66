"""Training: a recipe in, a model out. `train(load_recipe("quickstart"))` is the command `genlip train quickstart`."""

from genlip.data.tally import SkippedTooMany
from genlip.train.loop import Interrupted, NonFinite, train
from genlip.train.recipe import RecipeError, Run, load_recipe

__all__ = ["Interrupted", "NonFinite", "RecipeError", "Run", "SkippedTooMany", "load_recipe", "train"]
