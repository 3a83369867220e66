"""Metrics of answers: by name, how an answer is scored, and what is asked for beside the question.

In: a name. Out: a `Metric`. Requests and lengths are those of lmms-eval's tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from genlip.data.dialogues.question import Question
from genlip.evaluate.questions.answers.anls import anls
from genlip.evaluate.questions.answers.exact import exact_match
from genlip.evaluate.questions.answers.letters import ai2d_match, letter_found, scienceqa_match
from genlip.evaluate.questions.answers.relaxed import relaxed_match
from genlip.evaluate.questions.answers.vqa import textvqa_accuracy, vqa_accuracy

__all__ = ["METRICS", "Metric", "letter_named"]

_PHRASE = "Answer the question using a single word or phrase."
_WORD = "Answer the question with a single word."
_LETTER = "Answer with the option's letter from the given choices directly."


class Metric(NamedTuple):
    """How answers are scored.

    Attributes:
        title: what pages call the score.
        meaning: the score in words.
        suffix: what is asked for after the question.
        max_tokens: of an answer.
        score: answer and question -> a score in [0, 1]; 1 is right.
        with_options: whether the options are listed and a letter is the answer.
        fewest_answers: that a question needs, so that a right answer scores 1.
        capitalized: whether only the first letter of the question is a capital, as TextVQA asks it.
    """

    title: str
    meaning: str
    suffix: str
    max_tokens: int
    score: Callable[[str, Question], float]
    with_options: bool = False
    fewest_answers: int = 1
    capitalized: bool = False


def letter_named(said: str, question: Question) -> float:
    """1 if the answer names the right option anywhere, see `letter_found`."""
    return float(letter_found(said, question.options) == question.letter)


METRICS = {
    "vqa": Metric(
        "VQA accuracy", "a third for each of ten people who gave the answer too, at most 1", _PHRASE, 16,
        lambda said, one: vqa_accuracy(said, one.answers), fewest_answers=4,
    ),
    "textvqa": Metric(
        "TextVQA accuracy", "a third for each of ten people who gave the answer too, at most 1", _PHRASE, 16,
        lambda said, one: textvqa_accuracy(said, one.answers), fewest_answers=4, capitalized=True,
    ),
    "anls": Metric(
        "ANLS", "share of characters that need no change; 0 below a half", _PHRASE, 32,
        lambda said, one: anls(said, one.answers),
    ),
    "relaxed": Metric(
        "relaxed accuracy", "share of right answers; numbers may be 5 % off", _WORD, 16,
        lambda said, one: relaxed_match(said, one.answers),
    ),
    "exact": Metric(
        "exact match", "share of answers that equal a true one but for capitals and punctuation", _PHRASE, 16,
        lambda said, one: exact_match(said, one.answers),
    ),
    "letters": Metric(
        "right letters", "share of answers that begin with the right letter, as AI2D counts it", _LETTER, 16,
        lambda said, one: ai2d_match(said, one.letter), with_options=True,
    ),
    "scienceqa": Metric(
        "right letters", "share of answers that begin with the right letter, as ScienceQA counts it", _LETTER, 16,
        lambda said, one: scienceqa_match(said, one.letter), with_options=True,
    ),
}  # fmt: skip
