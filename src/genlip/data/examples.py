"""Examples: one captioned image, before decoding and tokenization.

A caption is a text, a conversation about the image, or a choice among several of these.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

__all__ = [
    "Caption",
    "Choice",
    "Conversation",
    "Example",
    "ImageLike",
    "Turn",
    "Unusable",
    "pick",
    "pick_line",
    "pick_place",
    "plain_text",
    "several_lines",
    "short_repr",
]

ImageLike = bytes | str | os.PathLike[str] | Image.Image


class Unusable(ValueError):
    """An example that cannot be used. `reason` is a short phrase, the key of counters."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.reason, str(self))


def short_repr(data: Any) -> str:
    """The `__repr__` of a source or data set: its type, name and length, such as `<Files 'photos': 1,200>`."""
    return f"<{type(data).__name__} {data.name!r}: {len(data):,}>"


class Turn(NamedTuple):
    """One message of a conversation. Messages of the user are input only; those of the assistant have a loss."""

    text: str
    learned: bool


Conversation = tuple[Turn, ...]


class Choice(NamedTuple):
    """Several captions of one image, the probability of each (they sum to 1), and the fields that they come from."""

    captions: tuple[str | Conversation, ...]
    chances: tuple[float, ...]
    fields: tuple[str, ...] = ()


Caption = str | Conversation | Choice


class Example(NamedTuple):
    """One captioned image.

    Attributes:
        key: names it in messages.
        image: a path, encoded bytes or a Pillow image.
        caption: "" if the record has none.
    """

    key: str
    image: ImageLike
    caption: Caption


def pick(caption: Caption, seed: int, epoch: int, index: int) -> str | Conversation:
    """The caption that is read in an epoch; of a choice, one by its probability. A pure function of its arguments."""
    if not isinstance(caption, Choice):
        return caption
    return caption.captions[pick_place(caption.chances, seed, epoch, index)]


def pick_place(chances: Sequence[float], seed: int, epoch: int, index: int) -> int:
    """A place, by probabilities that sum to 1. A pure function of its arguments."""
    # The stream of a bit generator is fixed across NumPy versions; the methods of a Generator are not.
    u = int(np.random.PCG64((seed, epoch, index)).random_raw()) / 2**64
    return min(int(np.searchsorted(np.cumsum(chances), u, side="right")), len(chances) - 1)


def pick_line(text: str, seed: int, epoch: int, index: int) -> str:
    """One non-empty line of a text, all with equal probability. A pure function of its arguments."""
    lines = several_lines(text)
    # The second number of the stream: the first one chose the caption itself.
    u = int(np.random.PCG64((seed, epoch, index)).random_raw(2)[1]) / 2**64
    return lines[min(int(u * len(lines)), len(lines) - 1)] if lines else ""


def several_lines(text: str) -> list[str]:
    """The non-empty lines of a text, stripped."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def plain_text(caption: Caption) -> str:
    """A caption as one text: the most likely of a choice, the messages of a conversation as lines."""
    if isinstance(caption, Choice):
        caption = caption.captions[int(np.argmax(caption.chances))]
    return caption if isinstance(caption, str) else "\n".join(turn.text for turn in caption)
