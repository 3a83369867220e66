"""The command line of reports: `genlip report RUN`.

In: the folder of a run. Out: a page about it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_report"]


def add_report(commands: Any, command: Callable[..., Any]) -> None:
    """Add `genlip report`; `command` adds one to a parser."""
    example = (
        "  genlip report runs/quickstart\n  genlip report runs/stage1 --out stage1.html\n\n"
        "The run may still be going on: the page tells what is known by now.\n\n"
        "python: genlip.evaluate.run_report.write_report(RUN)"
    )
    parser = command(commands, "report", _report, "write a page about a training run: curves, captions, settings", example)
    parser.add_argument("folder", metavar="RUN", help="folder of the run: the recipe's `out`")
    parser.add_argument("--out", default="", help="HTML page to write (default: RUN/run.html)")


def _report(args: argparse.Namespace, rest: list[str]) -> None:
    from genlip.evaluate.run_report import write_report

    if args.out and not Path(args.out).absolute().parent.is_dir():
        raise ValueError(f"--out {args.out}: no such folder {Path(args.out).absolute().parent}")
    print(f"page: {write_report(args.folder, args.out or None)}")
