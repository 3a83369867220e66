"""What all measurements do with their result: where it is stored, and what the terminal shows.

In: arguments with `model` and `out`, and a result. Out: the stored result, and a table of scores.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from genlip.cli.model_options import check_folder, model_name
from genlip.terminal import program, say

if TYPE_CHECKING:
    from genlip.evaluate.result import Result

__all__ = ["results_folder", "store_and_say"]


def results_folder(args: argparse.Namespace) -> Path:
    """The folder of evaluations: --out, else that of the model. Raises `UsageError` if the one around --out is not there."""
    if args.out:
        check_folder("--out", args.out)
        return Path(args.out)
    return _default(args)


def store_and_say(args: argparse.Namespace, result: Result) -> None:
    """Store a result, print its scores, and say where it is and how a page is made of it."""
    from genlip.evaluate.result_files import write_result

    out = results_folder(args)
    try:  # the result is stored before scores are printed; they are printed even if it cannot be stored
        stored = write_result(result, out)
    finally:
        say(_told(result))
    say(f"result: {stored}")
    say(f"page of all results: {program()} report {model_name(args) if out == _default(args) else out}")


def _default(args: argparse.Namespace) -> Path:
    from genlip.evaluate.result_files import evaluations_folder

    return evaluations_folder(model_name(args))


def _told(result: Result) -> str:
    """A table with a line for each score: its value and the interval in which 95 % of resampled sets lie."""
    rows = [("score", "value", "95 % interval")] if result.scores else []
    for name, scores in result.scores.items():
        low, high = scores.interval()
        rows.append((name, f"{scores.score:.4f}", "" if math.isnan(low) else f"{low:.4f} to {high:.4f}"))
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    lines = [f"{name:{first}}  {value:{second}}   {interval}".rstrip() for name, value, interval in rows]
    counted = "questions" if result.measurement == "questions" else "images"
    return "\n".join([*lines, f"{len(result.keys):,} {counted}"])
