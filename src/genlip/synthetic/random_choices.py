"""Random choices: what is random in synthetic image `index`, a pure function of (seed, index).

In: a seed and an index. Out: choices, one after another. Only uniform doubles are taken from NumPy, 256 at a
time: a page needs hundreds, and one NumPy call for each would cost more than drawing the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["LONGEST", "RandomChoices", "chosen_kind", "distinct", "page_size"]

T = TypeVar("T")
LONGEST = (256, 1024)  # the longer side of a page, in pixels
LEAST = 256  # minimum of the longer side, in pixels: text needs the space
DRAWN_AT_ONCE = 256


class RandomChoices:
    """Random choices of one image, drawn one after another."""

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
        """True with this probability."""
        return self.share() < probability

    def one(self, of: Sequence[T]) -> T:
        """One element of a sequence."""
        return of[int(len(of) * self.share())]

    def some(self, of: Sequence[T], count: int) -> list[T]:
        """`count` different elements in random order; all if there are fewer."""
        rest = list(of)
        return [rest.pop(int(len(rest) * self.share())) for _ in range(min(count, len(rest)))]


def chosen_kind(rng: RandomChoices, kinds: Iterable[str], kind: str | None) -> str:
    """The kind asked for, or one of them."""
    if kind is not None and kind not in (known := tuple(kinds)):
        raise ValueError(f"kind is {kind!r}, must be one of {', '.join(known)}")
    return kind or rng.one(tuple(kinds))


def page_size(rng: RandomChoices, longest: tuple[int, int], shapes: Sequence[float], shortest: int) -> tuple[int, int]:
    """Width and height in pixels: a longer side from `longest`, and one of the shapes (width / height), varied by up to 5 %.

    No side is below `shortest`, whatever the shape.
    """
    low, high = longest
    if not LEAST <= low <= high:
        raise ValueError(f"longest is {longest}, must be two sizes in order, from {LEAST} pixels")
    side = math.exp(rng.between(math.log(low), math.log(high)))  # as many from 256 to 512 as from 512 to 1024
    shape = rng.one(shapes) * rng.between(0.95, 1.05)
    return max(shortest, round(side * min(1, shape))), max(shortest, round(side / max(1, shape)))


def distinct(
    rng: RandomChoices, make: Callable[[RandomChoices], str], count: int, used: set[str] | None = None
) -> list[str]:
    """`count` texts that differ from each other and from those in `used`, to which they are added.

    After 20 tries, repeats are kept.
    """
    used, texts = set() if used is None else used, []
    for _ in range(count):
        text = make(rng)
        for _ in range(20):
            if text not in used:
                break
            text = make(rng)
        used.add(text)
        texts.append(text)
    return texts
