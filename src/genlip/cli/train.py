"""The command `genlip train`: train a model with a recipe.

In: the name of a recipe or a YAML file, and settings that replace its own. Out: the folder of the run.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from genlip.cli.parser import add_command
from genlip.recipes import OWN_IMAGES
from genlip.terminal import say

__all__ = ["add_resume", "add_train", "leads"]

_TRAIN_EXAMPLE = """\
A recipe is a YAML file, or the name of one in the package: {recipes}.
Every setting can be replaced on the command line by its path:

  genlip {own_images}
    (images/ holds at least 200 images, such as a.png, each with its caption in a.txt; 100 are held out)
  genlip train my.yaml --optimizer.learning_rate 5e-4 --print-config

Settings, with their defaults:

{settings}

python: genlip.train_model("quickstart", ["--steps", "2000"])"""


def add_train(commands: Any) -> None:
    """Add `genlip train`."""
    summary = "train a model with a recipe"
    parser = add_command(commands, "train", _train, summary, "", takes_overrides=True)
    parser.format_help = lambda: _train_help(parser)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    add_resume(parser)
    parser.add_argument("--print-config", action="store_true", help="print the resolved recipe as YAML and stop")


def _train_help(parser: argparse.ArgumentParser) -> str:
    from genlip.recipes.recipe import describe_settings, recipe_names

    parser.epilog = _TRAIN_EXAMPLE.format(
        recipes=", ".join(recipe_names()), own_images=OWN_IMAGES, settings=describe_settings()
    )
    return argparse.ArgumentParser.format_help(parser)


def _train(args: argparse.Namespace) -> None:
    from genlip.recipes.recipe import load_recipe, to_yaml
    from genlip.train.loop import train_model
    from genlip.train.malloc import keep_freed_memory

    keep_freed_memory()
    run = load_recipe(args.recipe, args.overrides)
    if args.print_config:
        say(to_yaml(run), end="")
        return
    model = train_model(run, resume=args.resume)
    if leads():
        say(f"model: {model}")


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add --resume."""
    parser.add_argument(
        "--resume", nargs="?", choices=("auto", "must", "never"), const="must", default="auto",
        help="continue the run in the output folder: auto, if there is one (default), must or never",
    )  # fmt: skip


def leads() -> bool:
    """Is this rank 0 of the processes that torchrun started, which alone prints?"""
    return os.environ.get("RANK", "0") == "0"
