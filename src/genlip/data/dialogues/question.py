"""Question: one question about images, with its true answers.

A set of questions has a length and random access; the same index always gives the same question.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Protocol

from genlip.data.examples import ImageLike

__all__ = ["Question", "QuestionSource", "question_form"]

_WORDS = 4  # of the form of a question


@dataclass(frozen=True)
class Question:
    """One question about images.

    Attributes:
        key: names it in messages and results.
        images: what it is about; empty where they were not read.
        question: the text, which may have a mark ("<image>") for each image.
        answers: true answers: one, several spellings, or those of several people. With options, the text of the right one.
        options: texts to choose from; empty for an open question.
        right: number of the right option, from 0; -1 without options.
        type: group of questions that it belongs to; empty if none is known.
    """

    key: str
    images: tuple[ImageLike, ...]
    question: str
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()
    right: int = -1
    type: str = ""

    @property
    def letter(self) -> str:
        """The letter of the right option, "A" for the first. Raises ValueError without options."""
        if self.right < 0:
            raise ValueError(f"{self.key}: a question without options has no letter")
        return ascii_uppercase[self.right]


class QuestionSource(Protocol):
    """Questions with a length and random access."""

    @property
    def name(self) -> str:
        """Its name in messages and results."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Question:
        """The question with its images. Raises `Unusable` if it cannot be read; other errors stop the run."""
        ...

    def text(self, index: int, /) -> Question:
        """The question without its images, which are not read. Raises `Unusable`."""
        ...


def question_form(question: str) -> str:
    """The first words of a question, as its type: at most four, and none from the first name or number on.

    "What is the value for Jan?" -> "What is the value …", "Is the box Card ticked?" -> "Is the box …".
    """
    words = question.split()
    names = [place for place, word in enumerate(words) if place and not word[0].islower()]
    kept = min([_WORDS, *names])
    return question if kept >= len(words) else f"{' '.join(words[:kept])} …"
