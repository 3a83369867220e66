"""Question cards: images with a question, its true answers, and the answers that a model gave, marked right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from genlip.data.images import ImageLike
from genlip.report.formatting import one_line
from genlip.report.html import escape, inline_image

__all__ = ["GivenAnswer", "QuestionCard", "question_gallery"]

_LONGEST = 300  # characters of a text; a tooltip shows all of it
_SIDE = 240  # pixels


class GivenAnswer(NamedTuple):
    """How an answer was asked for (empty if with the question's own image), what was said, and its score in [0, 1]."""

    how: str
    said: str
    score: float


class QuestionCard(NamedTuple):
    """A question.

    Attributes:
        image: what it is about.
        question: its text.
        options: texts to choose from, with their letters; may be empty.
        true: true answers.
        given: answers of the model.
    """

    image: ImageLike
    question: str
    options: Sequence[str]
    true: Sequence[str]
    given: Sequence[GivenAnswer]


def question_gallery(cards: Iterable[QuestionCard]) -> str:
    """The cards in columns."""
    return f'<div class="questions">{"".join(map(_card, cards))}</div>'


def _card(one: QuestionCard) -> str:
    options = "".join(f"<li>{_shortened(option)}</li>" for option in one.options)
    true = " · ".join(one.true)
    return (
        f"<figure><div>{inline_image(one.image, _SIDE)}</div><figcaption><p><b>{_shortened(one.question)}</b></p>"
        f"{f'<ul>{options}</ul>' if options else ''}<dl><dt>true</dt><dd>{_shortened(true)}</dd>"
        f"{''.join(map(_given, one.given))}</dl></figcaption></figure>"
    )


def _given(answer: GivenAnswer) -> str:
    said = _shortened(answer.said) if answer.said.strip() else "(nothing)"
    return f"<dt>{escape(answer.how or 'answer')}</dt><dd>{_verdict(answer.score)} {said}</dd>"


def _verdict(score: float) -> str:
    if score >= 1:
        return '<span class="right">✓</span>'
    return '<span class="wrong">✗</span>' if score <= 0 else f'<span class="partly">{score:.0%}</span>'


def _shortened(text: str) -> str:
    short = one_line(text, _LONGEST)
    return escape(short) if short == " ".join(text.split()) else f'<span title="{escape(text)}">{escape(short)}</span>'
