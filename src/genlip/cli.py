"""The command line: `genlip quickstart | train | caption | encode | readout | data | plan | eval | report | compare |
export | push`.

In: arguments. Out: text, files, and an exit status. Every command is a thin layer over one documented Python call.
Heavy imports wait until a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import genlip
from genlip.cli_data import add_data
from genlip.cli_eval import add_compare, add_eval
from genlip.cli_export import add_export
from genlip.cli_hub import add_push
from genlip.cli_images import add_caption, add_encode, add_readout
from genlip.cli_parser import Parser
from genlip.cli_plan import add_plan
from genlip.cli_report import add_report
from genlip.recipes import OWN_IMAGES
from genlip.terminal import HarmlessFormatter, complain, open_streams, reader_is_gone, say

__all__ = ["main"]

_LACK_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)  # as PyTorch words it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; what goes wrong is one line on standard error."""
    open_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HarmlessFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        return _run(arguments)
    except KeyboardInterrupt as stop:
        complain(str(stop) or "stopped")
        return 130
    except BaseException as error:  # named below, or raised again: programming errors keep their traceback
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            return 0
        if (status_and_words := _told(error)) is None:
            raise
        status, words = status_and_words
        if words:
            complain(words)
        return status


def _run(arguments: Sequence[str] | None) -> int:
    """The exit status; all output is then with its reader, who may have gone."""
    try:
        args, rest = _parser().parse_known_args(arguments)
        status = int(args.run(args, rest) or 0)
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _told(error: BaseException) -> tuple[int, str] | None:
    """Exit status and words of what may go wrong; None for a programming error."""
    if isinstance(error, (ValueError, OSError)):
        return 1, str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _LACK_OF_MEMORY.search(str(error))):
        return 1, f"not enough memory: {str(error) or 'none is left'}; take smaller batches, images or packs"
    if type(error).__name__ == "PanicException":  # of a library in Rust, such as tokenizers; it is no Exception
        return 1, f"a library failed on what it was given, mostly a damaged tokenizer.json: {error}"
    if not isinstance(error, (RuntimeError, ImportError, ArithmeticError)):
        return None
    from genlip.export.extras import MissingExtra
    from genlip.train.loop import Interrupted, NonFinite

    if isinstance(error, Interrupted):
        return 130, str(error) if _leads() else ""
    return (1, str(error)) if isinstance(error, (MissingExtra, NonFinite)) else None


def _leads() -> bool:
    """Is this the process that speaks, of those that torchrun started?"""
    return os.environ.get("RANK", "0") == "0"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="genlip",
        description="Vision encoders that learn by speaking: train one, let it describe images, use its features.",
        epilog="Start with: genlip quickstart",
    )
    parser.add_argument("--version", action="version", version=f"genlip {genlip.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_quickstart(commands)
    _add_train(commands)
    add_caption(commands, _command)
    add_encode(commands, _command)
    add_readout(commands, _command)
    add_data(commands, _command)
    add_plan(commands, _command)
    add_eval(commands, _command)
    add_report(commands, _command)
    add_compare(commands, _command)
    add_export(commands, _command)
    add_push(commands, _command)
    return parser


def _command(commands: Any, name: str, run: Any, summary: str, example: str, takes_overrides: bool = False) -> Any:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, takes_overrides=takes_overrides)
    return parser


def _add_quickstart(commands: Any) -> None:
    summary = "train a small model on procedural scenes within minutes, and write a page about it"
    settings = "Settings of the recipe can be replaced, as in --steps 300; see genlip train --help"
    example = f"{settings}\n\npython: genlip.quickstart.quickstart(out)"
    parser = _command(commands, "quickstart", _quickstart, summary, example, True)
    parser.add_argument("--out", default="runs/quickstart", help="folder of the run (default: runs/quickstart)")
    _add_resume(parser)


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", nargs="?", choices=("auto", "must", "never"), const="must", default="auto",
        help="go on with the run in the output folder: auto if there is one (default), must or never",
    )  # fmt: skip


def _quickstart(args: argparse.Namespace, rest: list[str]) -> None:
    from genlip.quickstart import quickstart
    from genlip.train.memory import keep_freed_memory

    keep_freed_memory()
    quickstart(args.out, rest, args.resume)


_TRAIN_EXAMPLE = """\
A recipe is a YAML file, or the name of one that comes with the package: {recipes}.
Every setting can be replaced on the command line by its path:

  genlip {own_images}
    (images/ holds 200 images or more, a.png beside a.txt with its caption; 100 are held out)
  genlip train my.yaml --optimizer.learning_rate 5e-4 --print-config

Settings, with their defaults:

{settings}

python: genlip.train.loop.train(genlip.load_recipe("quickstart", ["--steps", "2000"]))"""


def _add_train(commands: Any) -> None:
    summary = "train a model by a recipe"
    parser = _command(commands, "train", _train, summary, "", takes_overrides=True)
    parser.format_help = lambda: _train_help(parser)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    _add_resume(parser)
    parser.add_argument("--print-config", action="store_true", help="print the resolved recipe as YAML and stop")


def _train_help(parser: argparse.ArgumentParser) -> str:
    from genlip.recipes.recipe import describe_settings, recipe_names

    parser.epilog = _TRAIN_EXAMPLE.format(
        recipes=", ".join(recipe_names()), own_images=OWN_IMAGES, settings=describe_settings()
    )
    return argparse.ArgumentParser.format_help(parser)


def _train(args: argparse.Namespace, rest: list[str]) -> None:
    from genlip.recipes.recipe import load_recipe, to_yaml
    from genlip.train.loop import train
    from genlip.train.memory import keep_freed_memory

    keep_freed_memory()
    run = load_recipe(args.recipe, rest)
    if args.print_config:
        say(to_yaml(run), end="")
        return
    model = train(run, args.resume)
    if _leads():
        say(f"model: {model}")
