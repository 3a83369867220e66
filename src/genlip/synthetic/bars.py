"""Bars: small bar charts that a model learns to read within minutes. A month stands under each bar, its value on top.

In: a seed and an index. Out: an image and a caption that states all of it; bars i are a pure function of (seed, i). Sides
are multiples of 16 pixels, 96x64 to 160x96; paper and letters are those of `genlip.synthetic.notes`.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from genlip.synthetic.chart_layout import COLOURS, TIMES
from genlip.synthetic.notes import BODY, JITTER, PAPERS, UNIT
from genlip.synthetic.page import Box, Mark, Page, Text, paint
from genlip.synthetic.random_choices import RandomChoices

__all__ = ["Bars", "bars", "describe", "draw"]

STEP = 2 * UNIT  # from one bar to the next, in pixels


class Bars(NamedTuple):
    """The month and value of each bar, from the left, and where they are drawn."""

    values: tuple[tuple[str, int], ...]
    page: Page


def bars(seed: int, index: int) -> Bars:
    """Make the random choices of chart `index`: three to five bars, of months that follow each other."""
    rng = RandomChoices(seed, index)
    count, drawn = rng.whole(3, 5), [rng.whole(10, 99) for _ in range(5)]
    first, fill = rng.whole(0, 12 - count), COLOURS[rng.one(tuple(COLOURS))]
    values = tuple(zip(TIMES["Month"][first : first + count], drawn, strict=False))
    width, height = STEP * count, UNIT * (1 + count)
    floor, room = height - 18, height - 34  # where bars stand, and how high the highest may rise
    marks: list[Mark] = []
    for bar, (month, value) in enumerate(values):
        left, top = STEP * bar, floor - round(room * value / 100)
        marks.append(Box((left + 7, top, left + STEP - 7, floor), fill))
        for text, y in ((str(value), top - 2), (month, height - 5)):
            x = left + (STEP - BODY.width(text)) // 2 + rng.whole(-JITTER, JITTER)
            marks.append(Text(text, (x, y), BODY))
    return Bars(values, Page((width, height), rng.one(PAPERS), tuple(marks)))


def describe(content: Bars) -> str:
    """The caption, such as `Mar 47, Apr 12, May 90`."""
    return ", ".join(f"{month} {value}" for month, value in content.values)


def draw(content: Bars) -> Image.Image:
    """The image, RGB."""
    return paint(content.page)
