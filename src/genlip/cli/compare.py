"""The command `genlip compare`: a table of measured models.

In: folders of models. Out: a table of scores and differences, and a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genlip.cli.model_options import check_folder
from genlip.cli.parser import add_command
from genlip.terminal import say

__all__ = ["add_compare"]


def add_compare(commands: Any) -> None:
    """Add `genlip compare`."""
    example = (
        "  genlip compare runs/gated/model runs/ungated/model --out compare.html\n\n"
        "Each model is measured first, on the same sets with the same settings: genlip eval NAME MODEL DATA\n\n"
        "python: genlip.compare_models([MODEL, MODEL])"
    )
    summary = "compare measured models, and say which differences are significant"
    parser = add_command(commands, "compare", _compare, summary, example)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="folders of models, or of their evaluations")
    parser.add_argument("--out", help="HTML page to write")


def _compare(args: argparse.Namespace) -> None:
    from genlip.evaluate.comparison.compare import compare_models
    from genlip.evaluate.comparison.page import comparison_page, comparison_text
    from genlip.model.writing import write_text

    if args.out:
        check_folder("--out", args.out)
    found = compare_models(args.models)
    say(comparison_text(found))
    if args.out:
        write_text(Path(args.out), comparison_page(found))
        say(f"page: {args.out}")
