"""Errors of readers: what was read of lines, compared with their truth.

In: texts. Out: numbers of edits, and error rates with intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from characters import plain
from PIL import Image
from rapidfuzz.distance import Levenshtein

COLUMNS = ("lines", "reader", "characters", "words", "characters, new fonts", "lines/s")


class Sample(NamedTuple):
    """A line with its truth."""

    image: Image.Image
    text: str
    facts: dict[str, Any]


class Rate(NamedTuple):
    """An error rate in percent with its interval; NaN where there is nothing to read."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Measured(NamedTuple):
    """What a reader read of a shard.

    Attributes:
        edits: Int[N, 4], see `edits`.
        new_fonts: error rate by characters of the lines whose font is in no line for training.
        speed: lines per second.
    """

    shard: str
    reader: str
    texts: list[str]
    edits: np.ndarray
    characters: Rate
    words: Rate
    new_fonts: Rate
    speed: float

    def cells(self) -> list[str]:
        """As a row of a table."""
        return [self.shard, self.reader, str(self.characters), str(self.words), str(self.new_fonts), f"{self.speed:.1f}"]


def edits(truth: Sequence[str], read: Sequence[str]) -> np.ndarray:
    """Int[N, 4]: edits and number of characters, edits and number of words of each line."""
    rows = []
    for true, said in zip(map(plain, truth), map(plain, read), strict=True):
        words = true.split()
        rows.append([Levenshtein.distance(true, said), len(true), Levenshtein.distance(words, said.split()), len(words)])
    return np.array(rows)


def rate(counts: np.ndarray, first: int) -> Rate:
    """The error rate of Int[N, 4] `counts`; the columns `first` and `first + 1` are edits and units."""
    if not len(counts):
        return Rate(*[float("nan")] * 3)
    chosen = np.random.default_rng(0).integers(0, len(counts), (1000, len(counts)))
    sums = counts[chosen][:, :, first : first + 2].sum(1)
    low, high = np.percentile(100 * sums[:, 0] / sums[:, 1], [2.5, 97.5])
    whole = counts[:, first : first + 2].sum(0)
    return Rate(float(100 * whole[0] / whole[1]), float(low), float(high))
