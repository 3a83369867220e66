"""The command `genlip eval retrieval`: recall of texts by images and of images by texts, of a model with two towers.

In: the folder of a run of task siglip or clip, and captioned images. Out: a table of scores, and the stored result.
"""

from __future__ import annotations

import argparse
from typing import Any

from genlip.cli.eval_results import results_folder, store_and_say
from genlip.cli.parser import add_command

__all__ = ["add_retrieval"]

_EXAMPLE = """\
  genlip eval retrieval runs/siglip/model scenes:1

python: genlip.measure_retrieval(MODEL, DATA)"""


def add_retrieval(inner: Any) -> None:
    """Add `genlip eval retrieval`."""
    summary = "images found by their texts, and texts by their images, of a model of task siglip or clip"
    parser = add_command(inner, "retrieval", _run, summary, _EXAMPLE)
    parser.add_argument("model", metavar="MODEL", help="the model's folder of a run of task siglip or clip")
    parser.add_argument("data", metavar="DATA", help="captioned images, as genlip data inspect opens them")
    parser.add_argument("--limit", type=int, default=1000, help="how many, from all over the set (default: 1000)")
    parser.add_argument("--batch-size", type=int, default=64, help="images at a time (default: 64)")
    parser.add_argument("--out", help="folder of evaluations (default: evaluations in the model's folder)")


def _run(args: argparse.Namespace) -> None:
    from genlip.baselines.retrieval import measure_retrieval
    from genlip.progress import progress

    results_folder(args)  # refused before the model is loaded
    with progress(f"retrieval of {args.data}", args.limit) as advance:
        result = measure_retrieval(args.model, args.data, limit=args.limit, batch_size=args.batch_size, advance=advance)
    store_and_say(args, result)
