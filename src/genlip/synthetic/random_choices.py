"""Lots: the random choices behind synthetic image `index`, a pure function of (seed, index).

In: a seed and an index. Out: choices, in the order they are asked for. Only uniform doubles are taken from numpy, many at a
time: a page asks for hundreds, and one call of numpy for each would cost more than the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["LONGEST", "Lots", "chosen_kind", "page_size"]

T = TypeVar("T")
LONGEST = (256, 1024)  # the longer side of a page, in pixels
LEAST = 256  # what the longer side must be at least: text needs the room
DRAWN_AT_ONCE = 256


class Lots:
    """Choices to draw one after the other."""

    def __init__(self, seed: int, index: int) -> None:
        self._rng = np.random.default_rng((seed, index))
        self._drawn: list[float] = []

    def share(self) -> float:
        """A number from 0 up to but not including 1."""
        if not self._drawn:
            self._drawn = self._rng.random(DRAWN_AT_ONCE).tolist()
        return self._drawn.pop()

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.share()

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int((high - low + 1) * self.share())

    def chance(self, probability: float) -> bool:
        """True as often as `probability` says."""
        return self.share() < probability

    def one(self, of: Sequence[T]) -> T:
        """One of them."""
        return of[int(len(of) * self.share())]

    def some(self, of: Sequence[T], count: int) -> list[T]:
        """`count` different ones (all if there are fewer), in any order."""
        rest = list(of)
        return [rest.pop(int(len(rest) * self.share())) for _ in range(min(count, len(rest)))]


def chosen_kind(lots: Lots, kinds: Iterable[str], kind: str | None) -> str:
    """The kind asked for, or one of them."""
    if kind is not None and kind not in (known := tuple(kinds)):
        raise ValueError(f"kind is {kind!r}, must be one of {', '.join(known)}")
    return kind or lots.one(tuple(kinds))


def page_size(lots: Lots, longest: tuple[int, int], shapes: Sequence[float], shortest: int) -> tuple[int, int]:
    """Width and height: a longer side from `longest`, and one of the shapes (width / height), which also varies a little.

    No side is below `shortest`, whatever the shape.
    """
    low, high = longest
    if not LEAST <= low <= high:
        raise ValueError(f"longest is {longest}, must be two sizes in order, from {LEAST} pixels")
    side = math.exp(lots.between(math.log(low), math.log(high)))  # as many from 256 to 512 as from 512 to 1024
    shape = lots.one(shapes) * lots.between(0.95, 1.05)
    return max(shortest, round(side * min(1, shape))), max(shortest, round(side / max(1, shape)))
