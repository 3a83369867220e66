"""Notes: small pages that a model learns to read within minutes. Each line holds a name and a number.

In: a seed and an index. Out: an image and its transcription; note i is a pure function of (seed, i). Sides are multiples of
16 pixels, 96x48 to 160x80, so native patches of 16 pixels need no resizing.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from genlip.synthetic.chart_layout import GROUPS
from genlip.synthetic.page import RGB, Mark, Page, Style, Text, paint
from genlip.synthetic.random_choices import RandomChoices

__all__ = ["BODY", "JITTER", "PAPERS", "UNIT", "Note", "describe", "draw", "note"]

UNIT = 16  # sides are multiples of it, in pixels
BODY = Style("DejaVuSans", 13, (20, 20, 30))
PAPERS: tuple[RGB, ...] = ((255, 255, 255), (250, 244, 230), (242, 247, 252))
JITTER = 2  # text is shifted by up to so many pixels in each direction


class Note(NamedTuple):
    """What a note says, line by line, and where it is written."""

    lines: tuple[tuple[str, int], ...]
    page: Page


def note(seed: int, index: int) -> Note:
    """Make the random choices of note `index`: two to four lines."""
    rng = RandomChoices(seed, index)
    count = rng.whole(2, 4)
    names, numbers = rng.some(GROUPS["Food"], count), [rng.whole(100, 999) for _ in range(count)]
    width, height = 2 * UNIT * (1 + count), UNIT * (1 + count)
    left, right = 6 + rng.whole(-JITTER, JITTER), width - 6 + rng.whole(-JITTER, JITTER)
    first = 20 + rng.whole(-JITTER, JITTER)  # the first line's baseline
    lines, marks = tuple(zip(names, numbers, strict=True)), list[Mark]()
    for row, (name, number) in enumerate(lines):
        y = first + UNIT * row
        marks += Text(name, (left, y), BODY), Text(str(number), (right - BODY.width(str(number)), y), BODY)
    return Note(lines, Page((width, height), rng.one(PAPERS), tuple(marks)))


def describe(content: Note) -> str:
    """The caption: all that is written, a line for each, such as `Bread 284`."""
    return "\n".join(f"{name} {number}" for name, number in content.lines)


def draw(content: Note) -> Image.Image:
    """The image, RGB."""
    return paint(content.page)
