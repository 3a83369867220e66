"""The command `genlip ask`: questions about images, put to a multimodal LLM.

In: a folder with a model, images, and a question, a file of questions, or lines that are typed. Out: answers on the
terminal, as they are generated, or as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.model_options import UsageError, add_device, check_folder, placed, say_precision
from genlip.cli.parser import add_command
from genlip.model.writing import naming
from genlip.terminal import complain, say

if TYPE_CHECKING:
    from PIL import Image

    from genlip.cli.question_files import Asked
    from genlip.mllm.assistant import Assistant

__all__ = ["add_ask"]

_DECODING = ("max_tokens", "temperature", "top_k", "top_p", "seed")
_QUIT = (":quit", ":q", ":exit")


def add_ask(commands: Any) -> None:
    """Add `genlip ask`."""
    example = (
        '  genlip ask runs/llava/model photo.jpg "What is this?"\n'
        "  genlip ask runs/llava/model photo.jpg\n"
        "  genlip ask MODEL --questions questions.jsonl --out answers.jsonl\n"
        '\npython: genlip.Assistant.load("runs/llava/model").ask("photo.jpg", "What is this?")'
    )
    parser = add_command(commands, "ask", _ask, "ask a multimodal LLM about images", example)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder of a multimodal LLM, such as LLaVA or Qwen-VL, or its id on the Hugging Face Hub",
    )
    parser.add_argument(
        "words", metavar="IMAGE … QUESTION", nargs="*",
        help="image files, then a question: the last word that is no file; without a question, a chat, which :quit ends",
    )  # fmt: skip
    parser.add_argument("--questions", metavar="FILE", help="JSON, JSONL or CSV: a question, images and an id in each row")
    parser.add_argument("--out", help="with --questions: file of JSON lines; answers that it holds already are kept")
    parser.add_argument(
        "--allow-outside", action="store_true", help="with --questions: also images outside its folder, if you trust it"
    )
    parser.add_argument("--system", default="", help="text of the system message (default: the model's own)")
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-tokens", type=int, default=256, help="most tokens of an answer (default: 256)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 is greedy, above 0 is random sampling (default: 0)"
    )
    parser.add_argument("--top-k", type=int, default=0, help="sample from the k likeliest tokens; 0 for all (default)")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="sample from the likeliest tokens with this total probability (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling (default: 0)")
    add_device(parser, 8, what="questions of a file")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")


def _ask(args: argparse.Namespace) -> int:
    _check(args)
    if args.questions:
        return _ask_file(args)
    names, question = _images_and_question(args.words)
    images = _decoded(names)
    assistant = _load(args)
    from genlip.threads import Threads

    with Threads(args.threads, assistant.device):
        if question is None:
            return _chat(args, assistant, images)
        _say_pieces(assistant.stream(images, question, system=args.system, **_decoding(args)))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not belong together, before any work is done."""
    from genlip.model.decoding import Decoding

    Decoding(**_decoding(args))
    if args.questions and args.words:
        raise UsageError(f"{args.words[0]}: with --questions, images and questions are those of the file alone")
    if args.out and not args.questions:
        raise UsageError(f"--out {args.out}: only the answers to --questions are written to a file")
    if args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}: it must be at least 1")
    if args.out:
        check_folder("--out", args.out)
        if Path(args.out).is_dir():
            raise UsageError(f"--out {args.out}: is a folder; name a file")


def _images_and_question(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Image files, and the question: the last word, unless it is a file or is named like an image."""
    from genlip.data.images import IMAGE_SUFFIXES

    if not words:
        return [], None
    *first, last = words
    named_so = Path(last).suffix.lower() in IMAGE_SUFFIXES and not any(sign.isspace() for sign in last)
    if named_so or _exists(last):
        return list(words), None
    return first, last


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # a question that is longer than a file name may be
        return False


def _decoded(names: Sequence[str]) -> list[Image.Image]:
    """The images, before a large model is loaded. Raises `ImageError`."""
    from genlip.data.images import decode, refuse_url

    for name in names:
        refuse_url(name)
    return [decode(name) for name in names]


def _load(args: argparse.Namespace) -> Assistant:
    from genlip.extras import require

    require("transformers.utils.logging", "mllm").disable_progress_bar()
    from genlip.mllm.assistant import Assistant

    device, dtype = placed(args)
    assistant = Assistant.load(args.model, device=device, dtype=dtype, revision=args.revision)
    say_precision(args, dtype)
    return assistant


def _decoding(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in _DECODING}


def _say_pieces(pieces: Iterator[str]) -> None:
    for piece in pieces:
        say(piece, end="")
    say("")


def _chat(args: argparse.Namespace, assistant: Assistant, images: Sequence[Any]) -> int:
    """Answer line after line, until the input ends or says so."""
    from genlip.data.examples import Unusable

    talk = assistant.conversation(list(images), system=args.system)
    for question in _lines():
        try:
            _say_pieces(talk.stream(question, **_decoding(args)))
        except Unusable as error:
            complain(error)
    return 0


def _lines() -> Iterator[str]:
    """The lines of standard input that are not empty; with a prompt if somebody types them."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if line in _QUIT:
            return
        if line:
            yield line


def _ask_file(args: argparse.Namespace) -> int:
    from genlip.cli.question_files import answered, read_questions
    from genlip.threads import Threads

    asked = read_questions(args.questions, args.allow_outside)
    done = answered(args.out, asked, args.model)
    left, failed = [one for one in asked if one.id not in done], 0
    assistant = _load(args) if left else None
    with Threads(args.threads, None if assistant is None else assistant.device) as threads:
        for start in range(0, len(left), args.batch_size):
            batch = left[start : start + args.batch_size]
            for record in _answers(args, assistant, batch):  # type: ignore[arg-type]
                failed += "error" in record
                _tell(args, record)
            threads.advance(len(batch))
    if failed:
        complain(f"{failed} of {len(asked)} questions could not be asked")
    return 1 if failed else 0


def _answers(args: argparse.Namespace, assistant: Assistant, batch: Sequence[Asked]) -> list[dict[str, Any]]:
    """A record for each question, in order."""
    from genlip.data.examples import Unusable

    ready, faults = dict[str | int, Any](), {one.id: one.fault for one in batch if one.fault}
    for one in batch:
        try:
            if one.id not in faults:
                ready[one.id] = assistant.prepare(one.dialogue(args.system))
        except Unusable as error:
            faults[one.id] = str(error)
    said = dict(zip(ready, assistant.answer(list(ready.values()), args.batch_size, **_decoding(args)), strict=True))
    return [
        {"id": one.id, "question": one.question}
        | ({"error": faults[one.id]} if one.id in faults else {"answer": said[one.id], "model": args.model})
        for one in batch
    ]


def _tell(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Write a record to --out, or show it; an error is shown in any case."""
    if "error" in record:
        complain(record["error"])
    if args.out:
        with naming(args.out), Path(args.out).open("a", encoding="utf8", errors="backslashreplace") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    elif "answer" in record:
        say(f"{record['id']}: {record['answer']}")
