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
from genlip.cli_model import UsageError
from genlip.cli_plan import add_plan
from genlip.cli_report import add_report

__all__ = ["main"]

_LACK_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)  # as PyTorch words it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; what goes wrong is one line on standard error."""
    args, rest = _parser().parse_known_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    from genlip.export.extras import MissingExtra
    from genlip.train.loop import Interrupted, NonFinite

    try:
        if rest and not args.takes_overrides:
            raise UsageError(f"unknown argument {rest[0]}; see genlip {args.help_of} --help")
        return int(args.run(args, rest) or 0)
    except Interrupted as stop:
        if _leads():
            print(f"genlip: {stop}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, MissingExtra, NonFinite) as error:  # bad input; programming errors keep their traceback
        print(f"genlip: {error}", file=sys.stderr)
        return 1
    except BaseException as error:
        if not (line := _beyond_us(error)):
            raise
        print(f"genlip: {line}", file=sys.stderr)
        return 1


def _beyond_us(error: BaseException) -> str:
    """A line for what is no mistake of this program: a lack of memory, and a panic in a library's Rust; else ""."""
    text = " ".join(str(error).split())[:200]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _LACK_OF_MEMORY.search(text)):
        return f"out of memory{f' ({text})' if text else ''}: lower --batch, or the size of images or packs"
    # Raised by tokenizers and safetensors; no module gives the class a name to import.
    return f"a library failed: {text}; is a file of the model damaged?" if type(error).__name__ == "PanicException" else ""


def _leads() -> bool:
    """Is this the process that speaks, of those that torchrun started?"""
    return os.environ.get("RANK", "0") == "0"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
    parser.set_defaults(run=run, takes_overrides=takes_overrides, help_of=parser.prog.removeprefix("genlip "))
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

  genlip train quickstart --out runs/mine --data.source images/ --data.held_out "" --steps 2000
  genlip train my.yaml --optimizer.learning_rate 5e-4 --print-config

Settings, with their defaults:

{settings}

python: genlip.train.train(genlip.load_recipe("quickstart", ["--steps", "2000"]))"""


def _add_train(commands: Any) -> None:
    summary = "train a model by a recipe"
    parser = _command(commands, "train", _train, summary, "", takes_overrides=True)
    parser.format_help = lambda: _train_help(parser)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    _add_resume(parser)
    parser.add_argument("--print-config", action="store_true", help="print the resolved recipe as YAML and stop")


def _train_help(parser: argparse.ArgumentParser) -> str:
    from genlip.train.recipe import describe_settings, recipe_names

    parser.epilog = _TRAIN_EXAMPLE.format(recipes=", ".join(recipe_names()), settings=describe_settings())
    return argparse.ArgumentParser.format_help(parser)


def _train(args: argparse.Namespace, rest: list[str]) -> None:
    from genlip.train.loop import train
    from genlip.train.memory import keep_freed_memory
    from genlip.train.recipe import load_recipe, to_yaml

    keep_freed_memory()
    run = load_recipe(args.recipe, rest)
    if args.print_config:
        print(to_yaml(run), end="")
        return
    model = train(run, args.resume)
    if _leads():
        print(f"model: {model}")
