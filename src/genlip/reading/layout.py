"""Layout: a page -> boxes of its lines, in reading order.

In: UInt8[H, W] grey pixels. Out: boxes (left, top, right, bottom) in pixels.

1. Ink: pixels darker than the ground around them, or brighter where the page is dark.
2. The page is cut along empty rows and columns of pixels, again and again (recursive XY cut, Nagy and Seth 1984): first at
   gutters between columns, then at the widest gaps between rows. What cannot be cut further is a line.

It serves pages with straight print on a plain ground. Text over photos, tables with rules, and turned pages need another
layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

__all__ = ["Box", "find_lines", "ink"]

_BLOCK = 32  # pixels a side, over which the ground is taken to be even
_GUTTER, _SPACE = 1.6, 2.2  # in heights of a line: gaps that divide columns, and the parts of a line
_MARK = 0.4  # of the height of a line: lower pieces are dots and accents, and belong to the line that is as near
_PALE, _LEAST_CONTRAST = 0.5, 12.0  # share of the usual contrast that pale print still has; and of 255
_THICK = 8  # pixels: most of a rule
_LEAST = 4  # pixels: a lower line cannot be read


class Box(NamedTuple):
    """A part of a page in pixels, half open."""

    left: int
    top: int
    right: int
    bottom: int


def find_lines(pixels: np.ndarray) -> list[Box]:
    """The boxes of the lines of a page, UInt8[H, W] -> boxes in reading order; empty for a page without ink."""
    marks = _without_rules(ink(pixels))
    height = _line_height(marks)
    return [box for box in _pieces(marks, height) if box.bottom - box.top >= _LEAST]


def ink(pixels: np.ndarray) -> np.ndarray:
    """Bool[H, W], True where the page is printed. UInt8[H, W] pixels."""
    values = pixels.astype(np.float32)
    if np.median(values) < 110:  # bright print on a dark page
        values = 255 - values
    contrast = _ground(values) - values
    usual = float(np.median(contrast))
    spread = 1.4826 * float(np.median(np.abs(contrast - usual)))  # standard deviation of the paper, ink left aside
    return contrast > max(_PALE * _otsu(contrast), usual + 6 * spread, _LEAST_CONTRAST)


def _ground(values: np.ndarray) -> np.ndarray:
    """The brightness of the paper at each pixel: the 80th percentile of each block, the largest of it and its neighbours."""
    height, width = values.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.pad(values, ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width)), mode="edge")
    blocks = padded.reshape(rows, _BLOCK, columns, _BLOCK).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    level = np.pad(np.percentile(blocks, 80, axis=2), 1, mode="edge")
    near = [level[down : down + rows, across : across + columns] for down in range(3) for across in range(3)]
    return np.max(near, axis=0).repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width]


def _otsu(contrast: np.ndarray) -> float:
    """The threshold that divides values from 0 to 255 into two groups of the least variance (Otsu, 1979)."""
    counts = np.bincount(contrast.clip(0, 255).astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.nanargmax(between)) if np.isfinite(between).any() else 255.0


def _without_rules(marks: np.ndarray) -> np.ndarray:
    """Without straight lines that are longer than print, and thin: they would join what they divide."""
    rules = np.zeros_like(marks)
    for view, found in ((marks, rules), (marks.T, rules.T)):
        long, least = np.zeros_like(view), max(80, view.shape[1] // 8)
        for row in np.flatnonzero(view.sum(1) >= least).tolist():
            for start, end in _runs(view[row]):
                long[row, start:end] = end - start >= least
        for column in np.flatnonzero(long.any(0)).tolist():
            for start, end in _runs(long[:, column]):
                found[start:end, column] |= end - start <= _THICK  # else the stroke of a large letter
    return marks & ~rules


def _printed(marks: np.ndarray, axis: int) -> np.ndarray:
    """Bool[N]: the columns (axis 0) or rows (axis 1) with ink."""
    return np.asarray(marks.any(axis))


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of True in Bool[N]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _line_height(marks: np.ndarray) -> float:
    """The usual height of a line: the median height of the pieces of ink in narrow strips of the page."""
    strip = max(16, marks.shape[1] // 24)
    heights = [
        end - start
        for left in range(0, marks.shape[1], strip)
        for start, end in _runs(_printed(marks[:, left : left + strip], 1))
        if end - start >= _LEAST
    ]
    return float(np.median(heights)) if heights else float(_LEAST)


def _pieces(marks: np.ndarray, height: float) -> Iterator[Box]:
    """What cannot be cut further, in reading order."""
    left = [Box(0, 0, marks.shape[1], marks.shape[0])]  # the next one is the last
    while left:
        box = _shrunk(marks, left.pop())
        if box is None:
            continue
        parts = _cut(marks, box, height)
        if parts is None:
            yield box
        else:
            left += reversed(parts)


def _shrunk(marks: np.ndarray, box: Box) -> Box | None:
    """The smallest box around the ink in a box; None if there is none."""
    inside = marks[box.top : box.bottom, box.left : box.right]
    rows, columns = (np.flatnonzero(_printed(inside, axis)).tolist() for axis in (1, 0))
    if not rows:
        return None
    return Box(box.left + columns[0], box.top + rows[0], box.left + columns[-1] + 1, box.top + rows[-1] + 1)


def _cut(marks: np.ndarray, box: Box, height: float) -> tuple[Box, Box] | None:
    """The two parts of a box, in reading order; None for a line."""
    inside = marks[box.top : box.bottom, box.left : box.right]
    gaps = [gap for gap in _gaps(_printed(inside, 1)) if _divides_lines(gap, box.bottom - box.top, height)]
    gutter = max(_gaps(_printed(inside, 0)), key=_width, default=(0, 0))
    if _width(gutter) >= (_GUTTER * height if gaps else _SPACE * (box.bottom - box.top)):
        middle = box.left + sum(gutter) // 2
        return box._replace(right=middle), box._replace(left=middle)
    if not gaps:
        return None
    widest = max(gaps, key=_width)
    middle = box.top + sum(widest) // 2
    return box._replace(bottom=middle), box._replace(top=middle)


def _gaps(filled: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of False between two True in Bool[N]."""
    return [(end, start) for (_, end), (start, _) in pairwise(_runs(filled))]


def _width(gap: tuple[int, int]) -> int:
    return gap[1] - gap[0]


def _divides_lines(gap: tuple[int, int], total: int, height: float) -> bool:
    """Whether a gap between rows lies between two lines, and not below a dot or an accent."""
    lower = min(gap[0], total - gap[1])
    return lower >= _MARK * height or _width(gap) >= _MARK * height
