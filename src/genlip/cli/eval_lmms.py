"""The command `genlip eval lmms`: benchmarks of lmms-eval on a multimodal LLM, or a table of finished results.

In: a folder of a model, or results of lmms-eval. Out: a table of scores and averages beside published ones, and a JSON file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.model_options import UsageError, check_folder
from genlip.cli.parser import add_command
from genlip.terminal import say

if TYPE_CHECKING:
    from genlip.evaluate.lmms import SuiteScores, SuiteTask

__all__ = ["add_eval_lmms"]

_EXAMPLES = """\
  genlip eval lmms runs/instruct/model --suite paper14
  genlip eval lmms runs/instruct/model --tasks docvqa_val,chartqa --limit 20
  genlip eval lmms --suite paper14 --results runs/instruct/model/evaluations/lmms.paper14

lmms-eval needs an environment of its own: make lmms, then .venv/lmms/bin/genlip eval lmms …

python: genlip.measure_lmms(FOLDER, "paper14")"""


def add_eval_lmms(inner: Any) -> None:
    """Add `genlip eval lmms`."""
    summary = "benchmarks of lmms-eval on a multimodal LLM, and their averages beside published ones"
    parser: argparse.ArgumentParser = add_command(inner, "lmms", _run, summary, _EXAMPLES)
    parser.add_argument("model", metavar="FOLDER", nargs="?", help="folder of a multimodal LLM; its name with --results")
    parser.add_argument("--suite", default="paper14", help="paper14, cambrian16, or a .yaml file (default: paper14)")
    parser.add_argument("--results", nargs="+", metavar="FILE", help="…_results.json files of lmms-eval, or their folders")
    parser.add_argument("--tasks", type=_names, default=(), help="some tasks of the suite, with commas between")
    parser.add_argument("--limit", type=int, help="the first questions of each task, as a trial: without averages")
    parser.add_argument("--include-path", metavar="DIR", help="folder with task files of lmms-eval")
    parser.add_argument("--out", help="folder of results (default: evaluations/lmms.SUITE in the model's folder)")
    parser.add_argument("--batch-size", type=int, default=8, help="questions at a time (default: 8)")
    parser.add_argument("--device", default="", help="cpu, cuda, … (default: cuda if there is one)")
    parser.add_argument("--processes", type=int, default=1, help="that share the questions: one for each GPU (default: 1)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="(default: auto)")


def _run(args: argparse.Namespace) -> None:
    from genlip.evaluate.lmms import suite_table

    if args.out:
        check_folder("--out", args.out)
    say(suite_table(_read(args) if args.results else _measured(args)))


def _read(args: argparse.Namespace) -> SuiteScores:
    """Scores of finished results."""
    from genlip.evaluate.lmms import read_lmms_results, read_suite, suite_scores
    from genlip.model.writing import write_json

    for option in ("tasks", "limit", "include_path"):
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} is for a run of lmms-eval: leave it out with --results")
    scores = suite_scores(read_suite(args.suite), read_lmms_results(args.results), args.model or "")
    if args.out:
        write_json(Path(args.out) / "scores.json", scores.to_json())
    return scores


def _measured(args: argparse.Namespace) -> SuiteScores:
    """Scores of a run."""
    from genlip.evaluate.lmms import measure_lmms

    def started(task: SuiteTask, log_file: Path) -> None:
        say(f"{task.task}: messages in {log_file}")

    if not args.model:
        raise UsageError("missing FOLDER: need the folder of a multimodal LLM, or --results")
    names = ("tasks", "limit", "include_path", "out", "batch_size", "device", "dtype", "processes")
    return measure_lmms(args.model, args.suite, started=started, **{name: getattr(args, name) for name in names})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
