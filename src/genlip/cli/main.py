"""The command line: `genlip quickstart | train | caption | encode | readout | data | plan | eval | report | compare |
export | push`.

In: arguments. Out: text, files, and an exit status. Every command is a thin layer over one documented Python call.
Heavy imports wait until a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence

import genlip
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
from genlip.cli.readout import add_readout
from genlip.cli.report import add_report
from genlip.cli.train import add_train, leads
from genlip.terminal import HarmlessFormatter, complain, open_streams, reader_is_gone

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
        args, overrides = _parser().parse_known_args(arguments)
        args.overrides = overrides  # settings of a recipe
        status = int(args.run(args) or 0)
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
    from genlip.extras import MissingExtra
    from genlip.train.loop import Interrupted, NonFinite

    if isinstance(error, Interrupted):
        return 130, str(error) if leads() else ""
    return (1, str(error)) if isinstance(error, (MissingExtra, NonFinite)) else None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="genlip",
        description="Vision encoders that learn by speaking: train one, let it describe images, use its features.",
        epilog="Start with: genlip quickstart",
    )
    parser.add_argument("--version", action="version", version=f"genlip {genlip.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_quickstart(commands)
    add_train(commands)
    add_caption(commands)
    add_encode(commands)
    add_readout(commands)
    add_data(commands)
    add_plan(commands)
    add_eval(commands)
    add_report(commands)
    add_compare(commands)
    add_export(commands)
    add_push(commands)
    return parser
