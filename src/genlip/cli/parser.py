"""The parser of the command line: errors are one line, with the choices and the nearest known name.

In: arguments. Out: a namespace of argparse, or an error in the same form as all other errors.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from genlip.cli.model_options import UsageError
from genlip.suggestions import EVERYDAY, did_you_mean
from genlip.terminal import complain, program

__all__ = ["Parser", "add_command", "list_of"]

T = TypeVar("T", int, float)

_NEEDED: dict[Any, str] = {int: "a whole number", float: "a number"}
_INNER = sorted({name for names in EVERYDAY.values() for name in names if " " in name})  # commands such as "data inspect"


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` with our error messages; its subparsers are of the same class."""

    def error(self, message: str) -> NoReturn:
        """Report the error and end the program."""
        text = message.removeprefix("argument ").replace("the following arguments are required", "missing")
        complain(f"{text}; see {_as_started(self.prog)} --help")
        self.exit(2)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The base method; a command without settings of a recipe refuses unknown arguments."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and self.get_default("takes_overrides") is False:
            options = re.findall(r"--[a-z][\w-]*", self.format_usage())
            hint = did_you_mean(rest[0].partition("=")[0], options) if rest[0].startswith("-") else ""
            raise UsageError(f"unknown argument {rest[0]}{hint}; see {_as_started(self.prog)} --help")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        if action.option_strings:
            found, hint = f"{_name(action)} is {value!r}", did_you_mean(str(value), choices)
        else:
            _, *group = self.prog.split()
            inner = [name for name in _INNER if name.split()[0] in [*choices, *group]]
            hint = did_you_mean(value, choices, f"{_as_started(self.prog)} ") or did_you_mean(value, inner, f"{program()} ")
            found = f"unknown command {value!r}"
        raise argparse.ArgumentError(None, f"{found}: need one of {', '.join(choices)}{hint}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if action.type not in _NEEDED:
                raise
            raise argparse.ArgumentError(None, f"{_name(action)} is {arg_string!r}: need {_NEEDED[action.type]}") from error


def _as_started(command: str) -> str:
    """A command such as `genlip data pack`, with the program name by which this process was started."""
    return program() + command.removeprefix("genlip")


def _name(action: argparse.Action) -> str:
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


def add_command(commands: Any, name: str, run: Any, summary: str, example: str, takes_overrides: bool = False) -> Any:
    """Add a command to the subparsers `commands`; returns its parser.

    run              function to call with the arguments; their `overrides` holds unknown arguments
    takes_overrides  unknown arguments are settings of a recipe; otherwise they are refused
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, takes_overrides=takes_overrides)
    return parser


def list_of(kind: type[T], needed: str) -> Callable[[str], tuple[T, ...]]:
    """Reads numbers with commas between; `needed` says in an error what they are, with an example."""

    def read(text: str) -> tuple[T, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))  # type: ignore[call-arg]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: need {needed}") from None

    return read
