"""The command line of measurements of multimodal LLMs: `genlip eval questions FOLDER DATA`.

In: the folder of a model and a set. Out: a table of scores, and the stored result, from which `genlip report FOLDER` makes a
page.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from genlip.cli.eval_results import results_folder, store_and_say
from genlip.cli.model_options import UsageError, add_device, model_name, placed, say_precision
from genlip.cli.parser import add_command

__all__ = ["add_questions"]

# Names of `METRICS`, which import PyTorch; a test compares both.
_METRICS = ("vqa", "textvqa", "anls", "relaxed", "exact", "letters", "scienceqa")


def add_questions(inner: Any) -> None:
    """Add `genlip eval questions`."""
    parser = add_command(
        inner, "questions", _run_questions,
        "answers of a multimodal LLM to questions about images, with the metrics of its benchmarks",
        "  genlip eval questions FOLDER charts:1 --metric relaxed --without-images --other-images\n"
        "  genlip eval questions FOLDER 'docvqa/validation-*.parquet' --metric anls --limit 5349\n"
        "  genlip eval questions FOLDER mine.jsonl --metric exact\n\n"
        "python: genlip.measure_questions(genlip.Assistant.load(FOLDER), DATA, genlip.QuestionsConfig(metric=\"anls\"))",
    )  # fmt: skip
    parser.add_argument("model", metavar="FOLDER", help="folder of a multimodal LLM, as training writes it")
    parser.add_argument(
        "data", metavar="DATA",
        help="questions with answers: charts:1, documents:1, a .json, .jsonl or .csv table with paths of images, .parquet",
    )  # fmt: skip
    parser.add_argument(
        "--metric", choices=_METRICS, required=True,
        help="vqa and textvqa: ten people's answers; anls: nearly equal texts (DocVQA, InfographicVQA); relaxed: numbers "
        "within 5 %% (ChartQA); exact: equal texts (GQA); letters (AI2D) and scienceqa: options",
    )  # fmt: skip
    parser.add_argument("--prompt-suffix", help="text after each question, '' for none (default: as lmms-eval asks)")
    parser.add_argument(
        "--max-tokens", type=int, default=0, help="most tokens of an answer (default: the metric's, 16 or 32)"
    )
    parser.add_argument("--without-images", action="store_true", help="also ask the same questions without images")
    parser.add_argument("--other-images", action="store_true", help="also ask them with the images of other questions")
    parser.add_argument("--limit", type=int, default=500, help="how many, from all over the set (default: 500)")
    parser.add_argument("--image-folder", default="", help="where the images of a table lie, if not beside it")
    parser.add_argument(
        "--allow-outside", action="store_true", help="read images that a table names outside that folder, if you trust it"
    )
    add_device(parser, 8, what="questions")
    parser.add_argument("--out", help="folder of evaluations (default: evaluations in the model's folder)")


def _run_questions(args: argparse.Namespace) -> None:
    from genlip.data.dialogues.questions import open_questions
    from genlip.evaluate.questions.measure import QuestionsConfig, measure_questions
    from genlip.mllm.assistant import Assistant  # type: ignore[import-not-found]
    from genlip.progress import progress
    from genlip.threads import Threads

    fields = ("metric", "prompt_suffix", "max_tokens", "batch_size", "without_images", "other_images")
    config = QuestionsConfig(**{name: getattr(args, name) for name in fields})
    if args.limit < 1:
        raise UsageError(f"--limit is {args.limit}: it must be at least 1")
    data, partial = open_questions(args.data, args.image_folder or None, args.allow_outside), _partial(args)
    device, dtype = placed(args)
    assistant = Assistant.load(args.model, device=device, dtype=dtype)
    say_precision(args, dtype)
    shown = progress(f"questions of {args.data}", min(args.limit, len(data)) * config.passes)
    with Threads(args.threads, device) as threads, shown as show:

        def advance(questions: int) -> None:
            show(questions)
            threads.advance(questions)

        result = measure_questions(
            assistant, data, config, model=model_name(args), limit=args.limit, partial=partial, advance=advance
        )
    store_and_say(args, result)


def _partial(args: argparse.Namespace) -> Path:
    """Where answers are stored until all are given: two measurements at once must not share it."""
    same = ("run", "batch_size", "device", "threads", "without_images", "other_images")  # answers do not change with these
    asked = {name: str(value) for name, value in vars(args).items() if name not in same}
    return results_folder(args) / f"questions.{hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()[:8]}.jsonl"
