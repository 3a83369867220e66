"""The command line: `genlip quickstart | train | caption | read | ask | encode | readout | data | plan | eval | report |
compare | study | export | push`.

In: arguments. Out: text, files, and an exit status. Every command calls one documented Python function. Slow imports happen
only when a command runs, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence

import genlip
from genlip.cli.ask import add_ask
from genlip.cli.caption import add_caption
from genlip.cli.compare import add_compare
from genlip.cli.data import add_data
from genlip.cli.encode import add_encode
from genlip.cli.eval import add_eval
from genlip.cli.export import add_export
from genlip.cli.parser import Parser
from genlip.cli.plan import add_plan
from genlip.cli.push import add_push
from genlip.cli.quickstart import add_quickstart
from genlip.cli.read import add_read
from genlip.cli.readout import add_readout
from genlip.cli.report import add_report
from genlip.cli.study import add_study
from genlip.cli.train import add_train, leads
from genlip.terminal import HarmlessFormatter, complain, open_streams, reader_is_gone

__all__ = ["main"]

_OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)  # PyTorch's messages


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. An error is reported as one line on standard error."""
    open_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HarmlessFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        return _run(arguments)
    except KeyboardInterrupt as stop:
        complain(str(stop) or "stopped")
        return 130
    except BaseException as error:  # expected errors become one line; programming errors keep their traceback
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            return 0
        if (expected := _status_and_message(error)) is None:
            raise
        status, message = expected
        if message:
            complain(message)
        return status


def _run(arguments: Sequence[str] | None) -> int:
    """Run a command and return the exit status. All output is flushed, which fails if its reader has stopped."""
    try:
        args, overrides = _parser().parse_known_args(arguments)
        args.overrides = overrides  # settings of a recipe
        status = int(args.run(args) or 0)
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _status_and_message(error: BaseException) -> tuple[int, str] | None:
    """Exit status and message of an expected error; None for a programming error."""
    if isinstance(error, (ValueError, OSError)):
        return 1, str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))):
        return 1, f"not enough memory: {str(error) or 'none is left'}; use smaller batches, images or packs"
    if type(error).__name__ == "PanicException":  # of a Rust library such as tokenizers; not a subclass of Exception
        return 1, f"a library failed on its input, probably a damaged tokenizer.json: {error}"
    if not isinstance(error, (RuntimeError, ImportError, ArithmeticError)):
        return None
    from genlip.extras import MissingExtra
    from genlip.train.loop import Interrupted, NonFinite

    if isinstance(error, Interrupted):
        return 130, str(error) if leads() else ""
    return (1, str(error)) if isinstance(error, (MissingExtra, NonFinite)) else None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="genlip",
        description="Vision encoders trained by generating captions: train one, caption images, use its features.",
        epilog="Start with: genlip quickstart",
    )
    parser.add_argument("--version", action="version", version=f"genlip {genlip.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_quickstart(commands)
    add_train(commands)
    add_caption(commands)
    add_read(commands)
    add_ask(commands)
    add_encode(commands)
    add_readout(commands)
    add_data(commands)
    add_plan(commands)
    add_eval(commands)
    add_report(commands)
    add_compare(commands)
    add_study(commands)
    add_export(commands)
    add_push(commands)
    return parser
