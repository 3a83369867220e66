"""Mixtures: several sources read as one.

In: sources, and weights if the shares are not their lengths. Out: a source whose epoch takes a fixed number of examples from
each part. If that is fewer than the part has, the next epoch continues where this one stopped. If it is more, the part is
repeated within the epoch. So each part is read evenly, and no state is needed to locate an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from genlip.data.examples import Caption, short_repr
from genlip.data.sources.base import Indexed, Subset, Without

__all__ = ["Mixture", "Place", "drawn", "hold_out", "lengths", "locate"]

S = TypeVar("S", bound=Indexed)


class Place(NamedTuple):
    """Where an example of a mixture comes from: example `number` of a part, in an epoch of the part."""

    source: Any
    epoch: int
    number: int


class Mixture:
    """Several sources as one.

    Attributes:
        sources: the parts.
        weights: their shares of an epoch; None reads every example once per epoch.
        takes: number of examples that an epoch takes from each part; the sum is the mixture's length.
    """

    def __init__(self, sources: Sequence[Indexed], weights: Sequence[float] | None = None, name: str = "mixture") -> None:
        """`weights` divide an epoch, which is as long as all parts together.

        Raises ValueError for a part without examples.
        """
        if not sources:
            raise ValueError("a mixture needs at least one source")
        self.sources: tuple[Any, ...] = tuple(sources)
        self.weights, self.name = weights, name
        lengths = np.array([len(source) for source in sources])
        self.takes = lengths if weights is None else _weighted(lengths, weights, name)
        self._ends = np.cumsum(self.takes)

    __repr__ = short_repr

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Any:
        """An example of the first epoch."""
        source, _, inner = locate(self, 0, index)
        return source[inner]

    def caption(self, index: int) -> Caption:
        """The caption of an example of the first epoch, where the parts have captions."""
        source, _, inner = locate(self, 0, index)
        return source.caption(inner)

    def place(self, epoch: int, index: int) -> Place:
        """The origin of example `index` of an epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: example {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, index, side="right"))
        take, source = int(self.takes[part]), self.sources[part]
        before = int(self._ends[part]) - take
        return Place(source, *divmod(epoch * take + index - before, len(source)))


def locate(source: Indexed, epoch: int, index: int) -> Place:
    """The part of a source that holds example `index` of an epoch, and its index there; parts may be mixtures too."""
    while isinstance(source, Mixture):
        source, epoch, index = source.place(epoch, index)
    return Place(source, epoch, index)


def lengths(source: Indexed) -> Any:
    """What the order depends on: a source's length; for a mixture, the number taken from each part, and its length."""
    if isinstance(source, Mixture):
        return [[take, lengths(part)] for take, part in zip(source.takes.tolist(), source.sources, strict=True)]
    return len(source)


def hold_out(source: S, count: int, seed: int) -> tuple[S, S]:
    """A source without `count` of its examples, and these. In a mixture, each part gives its share.

    The seed chooses the examples. Memory does not depend on the length of the source. Raises ValueError for more than half.
    """
    rest, held = _held_out(source, count, seed)
    return cast(S, rest), cast(S, held)


def _held_out(source: Indexed, count: int, seed: int) -> tuple[Indexed, Indexed]:
    if count == 0:
        return source, Subset(source, ())
    if isinstance(source, Mixture):
        counts = _divided(count, source.takes)
        parts = [_held_out(part, int(n), seed) for part, n in zip(source.sources, counts, strict=True)]
        rest = Mixture([part for part, _ in parts], source.weights, source.name)
        return rest, Mixture([held for _, held in parts if len(held)], name=source.name)
    if 2 * count > len(source) + 2:  # the share of a part is rounded
        raise ValueError(
            f"{source.name}: {count} of {len(source)} examples would be held out, and at most half may be; "
            "name a source with data.held_out or lower data.held_out_samples"
        )
    chosen = drawn(len(source), count, seed)
    return Without(source, chosen), Subset(source, chosen)


def drawn(length: int, count: int, seed: int) -> np.ndarray:
    """Int64[count] different indices below `length`, in ascending order, which archives read faster."""
    bits = np.random.PCG64(seed)  # and not a Generator: its methods may change between NumPy versions, see `pick`
    found: dict[int, None] = {}
    while len(found) < count:
        found.update(dict.fromkeys((bits.random_raw(count) % length).tolist()))
    return np.sort(np.fromiter(found, np.int64)[:count])


def _weighted(lengths: np.ndarray, weights: Sequence[float], name: str) -> np.ndarray:
    """The number of examples that an epoch takes from each part, by weights."""
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != lengths.shape or not (np.isfinite(shares).all() and (shares > 0).all()):
        raise ValueError(f"{name}: weights {list(weights)}: each of the {len(lengths)} parts needs one above 0")
    takes = _divided(int(lengths.sum()), shares)
    if not (lengths.all() and takes.all()):
        raise ValueError(
            f"{name}: an epoch takes {takes.tolist()} examples of parts that hold {lengths.tolist()}; "
            "every part must hold some and give some: raise its weight, or leave it out"
        )
    return takes


def _divided(total: int, shares: np.ndarray) -> np.ndarray:
    """Int64[parts] whole numbers that sum to `total`, each the share of its part rounded up or down."""
    before = np.cumsum(shares, dtype=np.float64)
    ends = np.floor(before * total / before[-1] + 0.5).astype(np.int64)  # np.rint could round a share by a whole 1
    return np.diff(ends, prepend=0)
