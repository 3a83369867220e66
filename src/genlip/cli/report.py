"""The command `genlip report`: a page about a run or a model.

In: the folder of a run, of a model, or of evaluations. Out: a page about it.
"""

from __future__ import annotations

import argparse
from typing import Any

from genlip.cli.model_options import check_folder
from genlip.cli.parser import add_command
from genlip.terminal import say

__all__ = ["add_report"]


def add_report(commands: Any) -> None:
    """Add `genlip report`."""
    example = (
        "  genlip report runs/quickstart         curves, captions, settings: RUN/run.html\n"
        "  genlip report runs/quickstart/model   what genlip eval measured: MODEL/evaluations/report.html\n\n"
        "The run may still be in progress; the page shows its current state.\n\n"
        "python: genlip.write_report(RUN), genlip.write_report(MODEL)"
    )
    summary = "write a page about a training run, or about all measurements of a model"
    parser = add_command(commands, "report", _report, summary, example)
    parser.add_argument("folder", metavar="RUN|MODEL", help="folder of a run, of a model, or of evaluations; or a Hub id")
    parser.add_argument("--out", default="", help="HTML page to write (default: in that folder)")


def _report(args: argparse.Namespace) -> None:
    from genlip.train.run_page import write_report

    if args.out:
        check_folder("--out", args.out)
    say(f"page: {write_report(args.folder, args.out or None)}")
