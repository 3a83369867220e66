"""Alignment of two sequences: the number of edits between them, and the length of their longest common subsequence.

In: two sequences of words or characters. Out: a count. Both fill the usual table row by row; the dependence on left
neighbours is a running minimum or maximum, so that NumPy computes a whole row at once.

Axes: n items of the second sequence; a row holds n + 1 entries, the first for none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["edits", "longest_common"]


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein distance: fewest insertions, deletions and replacements that turn one into the other, each costing 1."""
    places = np.arange(len(other) + 1)
    row = places
    for number, same in enumerate(_matches(one, other), start=1):
        reached = np.concatenate([[number], np.minimum(row[1:] + 1, row[:-1] + ~same)])
        row = np.minimum.accumulate(reached - places) + places  # each step to the right inserts an item
    return int(row[-1])


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence: items of both in the same order, with gaps or without."""
    row = np.zeros(len(other) + 1, dtype=np.int64)
    for same in _matches(one, other):
        row[1:] = np.maximum(row[1:], row[:-1] + same)
        row = np.maximum.accumulate(row)
    return int(row[-1])


def _matches(one: Sequence[str], other: Sequence[str]) -> Iterator[np.ndarray]:
    """For each item of one, Bool[n]: which items of the other it equals."""
    numbers = {item: number for number, item in enumerate(dict.fromkeys(other))}
    row = np.array([numbers[item] for item in other], dtype=np.int64)
    for item in one:
        yield row == numbers.get(item, -1)
