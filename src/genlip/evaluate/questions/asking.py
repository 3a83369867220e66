"""Asking: questions of a set put to a model, and its answers, stored as they are given.

In: a model, a set, and which of its questions, each with its own images, with none, or with those of another question. Out:
texts. A question that cannot be asked is skipped and named in the log.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypedDict

import torch
from PIL import Image

from genlip.data.dialogues.dialogue import IMAGE_MARK, Dialogue, Message
from genlip.data.dialogues.question import Question, QuestionSource
from genlip.data.examples import ImageLike, Unusable
from genlip.data.images import decode
from genlip.evaluate.partial_results import PartialResults
from genlip.evaluate.questions.answers.letters import LETTERS
from genlip.evaluate.questions.answers.metrics import Metric

__all__ = [
    "NONE", "OTHER", "OWN", "AnswerEntry", "Answerer", "Asking", "ask", "dialogue_of", "first_paragraph", "image_digest",
]  # fmt: skip

log = logging.getLogger(__name__)

OWN, NONE, OTHER = 0, 1, 2  # images that a question is asked with: its own, none, those of another question


class Answerer(Protocol):
    """A model that answers questions about images, such as `genlip.mllm.assistant.Assistant`."""

    @property
    def name(self) -> str:
        """What messages call it, as the user spelled it."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """In which the language model computes."""
        ...

    def image_settings(self) -> dict[str, Any]:
        """What `Result.settings` records of how images are prepared, see `Encoder.image_settings`."""
        ...

    def fingerprint(self) -> str:
        """Digest of all weights: stored answers of other weights are not used."""
        ...

    def answer(self, dialogues: Sequence[Dialogue], batch_size: int = 8, **decoding: Any) -> list[str]:
        """What the assistant says next in each dialogue. Raises `Unusable` where one cannot be read."""
        ...


class AnswerEntry(TypedDict, total=False):
    """What is stored of a question: the answer and a digest of the images, or why it was skipped."""

    said: str
    image: str
    skipped: str


class Asking(NamedTuple):
    """How questions are asked.

    Attributes:
        metric: says whether options are listed.
        suffix: text after each question; may be empty.
        max_tokens: most tokens of an answer.
        batch_size: questions asked together.
    """

    metric: Metric
    suffix: str
    max_tokens: int
    batch_size: int


def ask(
    assistant: Answerer,
    data: QuestionSource,
    pairs: Sequence[tuple[int, int | None]],
    kind: int,
    asking: Asking,
    found: PartialResults,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[int, AnswerEntry]:
    """The answer to each of these questions, greedily; those in `found` are read from there, and new ones are added to it.

    pairs    numbers of questions, each with the number of the question whose images are shown, or None for no image
    kind     `OWN`, `NONE` or `OTHER`: stored answers are told apart by it
    advance  is called with the number of newly finished questions
    """
    left = [pair for pair in pairs if _number(pair[0], kind) not in found.entries]
    if len(left) < len(pairs):
        log.info("%d of %d questions were answered before", len(pairs) - len(left), len(pairs))
        advance(len(pairs) - len(left))
    for start in range(0, len(left), asking.batch_size):
        some = left[start : start + asking.batch_size]
        entries = _answered(assistant, [_asked(data, *pair, asking) for pair in some], asking)
        found.add((_number(index, kind), entry) for (index, _), entry in zip(some, entries, strict=True))
        advance(len(some))
    return {index: found.entries[_number(index, kind)] for index, _ in pairs}


def dialogue_of(question: Question, asking: Asking) -> Dialogue:
    """The question as a user asks it: images, question, options "A. …" if a letter is to be said, and the suffix.

    Images stand at their marks in the text if it has as many, else before it, one in each line.
    """
    text = question.question.capitalize() if asking.metric.capitalized else question.question
    if asking.metric.with_options:
        text = "\n".join([text, *(f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False))])
    text = f"{text}\n{asking.suffix}" if asking.suffix else text
    if text.count(IMAGE_MARK) != len(question.images):
        text = f"{IMAGE_MARK}\n" * len(question.images) + text.replace(IMAGE_MARK, "").strip()
    return Dialogue(question.key, question.images, (Message("user", text),))


def first_paragraph(said: str) -> str:
    """The part of an answer that is scored: up to an empty line, where lmms-eval ends an answer."""
    return said.strip().partition("\n\n")[0]


def image_digest(images: Sequence[ImageLike]) -> str:
    """16 hexadecimal digits of encoded bytes, paths or pixels, which are not read from files."""
    found = hashlib.sha256()
    for image in images:
        if isinstance(image, Image.Image):
            found.update(f"{image.mode} {image.size}".encode() + image.tobytes())
        else:
            found.update(image if isinstance(image, bytes) else str(image).encode(errors="surrogateescape"))
    return found.hexdigest()[:16]


def _number(index: int, kind: int) -> int:
    return 3 * index + kind


def _asked(data: QuestionSource, index: int, shown: int | None, asking: Asking) -> tuple[Dialogue, str] | Unusable:
    """The dialogue with decoded images, and the digest of its images as they are stored; or why there is none."""
    try:
        question = data[index] if shown == index else data.text(index)
        images = () if shown is None else question.images if shown == index else data[shown].images
        decoded = tuple(decode(image) for image in images)
        return dialogue_of(replace(question, images=decoded), asking), image_digest(images)
    except Unusable as error:
        log.warning("skipped %s", error)
        return error


def _answered(assistant: Answerer, asked: Sequence[tuple[Dialogue, str] | Unusable], asking: Asking) -> list[AnswerEntry]:
    """The entries of a batch."""
    said = iter(_said(assistant, [one[0] for one in asked if not isinstance(one, Unusable)], asking))
    entries: list[AnswerEntry] = []
    for one in asked:
        text = one if isinstance(one, Unusable) else next(said)
        if isinstance(text, Unusable):
            entries.append({"skipped": text.reason})
        elif not isinstance(one, Unusable):
            entries.append({"said": text, "image": one[1]})
    return entries


def _said(assistant: Answerer, dialogues: Sequence[Dialogue], asking: Asking) -> Sequence[str | Unusable]:
    """All answers of a batch; where one dialogue cannot be read, they are asked one by one."""
    if not dialogues:
        return []
    try:
        return assistant.answer(dialogues, batch_size=asking.batch_size, max_tokens=asking.max_tokens)
    except Unusable as error:
        if len(dialogues) > 1:
            return [said for one in dialogues for said in _said(assistant, [one], asking)]
        log.warning("skipped %s: %s", dialogues[0].key, error)
        return [error]
