"""Order: the order of samples, as a pure function of (seed, stream, position).

In: the length of a source. Out: for each of a fixed number of streams, an endless sequence of (epoch, index of an example).
Reading can continue at any position without stored state, and does not depend on which process reads which stream.

    1. The source is cut into blocks of neighbours, and every epoch permutes the blocks: reading neighbours is faster.
    2. The permuted samples of an epoch are divided among the streams in equal shares. A stream that has read its share goes
       on with the next share, of the next epoch. So every stream has samples even if there are more streams than samples.
    3. A stream shuffles its share inside windows, so that neighbours do not stay together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["Draw", "Order"]

_BLOCK, _BLOCKS_PER_SHARE = 64, 64  # with fewer blocks, a stream would read only a few regions of the source per epoch


class Draw(NamedTuple):
    """One sample of a run: example `number` of the source, in its epoch."""

    epoch: int
    number: int


@dataclass(frozen=True)
class Order:
    """The order of a run.

    Attributes:
        length: number of examples of the source.
        seed: of the run.
        streams: number of virtual streams among which samples are divided.
        block: number of neighbours that stay together; 0 takes 64, or fewer if a share would have fewer than 64 blocks.
        window: number of samples in a shuffle window.
    """

    length: int
    seed: int = 0
    streams: int = 1
    block: int = 0
    window: int = 2048
    _windows: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.length, self.streams, self.window) < 1 or min(self.seed, self.block) < 0:
            raise ValueError(
                f"order of {self.length} samples in {self.streams} streams and windows of {self.window}: each must be at "
                f"least 1, blocks of {self.block} and seed {self.seed} at least 0"
            )

    def draws(self, stream: int, positions: Iterable[int]) -> list[Draw]:
        """The draws of a stream at positions of its sequence, counted from 0."""
        return [self._draw(stream, position) for position in positions]

    def end(self, stream: int, epochs: int) -> int:
        """The position at which a stream has read its shares of `epochs` epochs."""
        return self._start(stream + epochs) - self._start(stream)

    def _draw(self, stream: int, position: int) -> Draw:
        # All shares are one sequence, epoch after epoch; a stream starts at its own share and reads on.
        place = self._start(stream) + position
        share = ((place + 1) * self.streams - 1) // self.length  # the last one that starts at or before the place
        start, epoch = self._start(share), share - stream
        size = self._start(share + 1) - start
        shuffled = self._shuffled(epoch, share % self.streams, place - start, size)
        return Draw(epoch, self._index(epoch, self._start(share % self.streams) + shuffled))

    def _start(self, share: int) -> int:
        return share * self.length // self.streams

    def _shuffled(self, epoch: int, share: int, place: int, size: int) -> int:
        """The place in the share after shuffling inside its window."""
        window, offset = divmod(place, self.window)
        start = window * self.window
        return start + int(self._window((self.seed, 1, epoch, share, window), min(self.window, size - start))[offset])

    def _window(self, key: tuple[int, ...], length: int) -> np.ndarray:
        """The permutation of a window; two are cached, as waiting samples may belong to the previous one."""
        if key not in self._windows:
            while len(self._windows) > 1:
                del self._windows[next(iter(self._windows))]
            self._windows[key] = _random_order(key, length)
        return self._windows[key]

    def _index(self, epoch: int, place: int) -> int:
        """The example at a place of the epoch's permuted blocks, of which one may be short."""
        block = self.block or max(1, min(_BLOCK, self.length // (self.streams * _BLOCKS_PER_SHARE)))
        count = -(-self.length // block)
        blocks, short = _blocks(self.seed, epoch, count)
        missing = count * block - self.length
        if place >= (short + 1) * block - missing:
            place += missing
        return int(blocks[place // block]) * block + place % block


@lru_cache(maxsize=2)  # streams may be in two epochs at once
def _blocks(seed: int, epoch: int, count: int) -> tuple[np.ndarray, int]:
    """The permuted blocks of an epoch, and where the last block, which may be short, lies among them."""
    blocks = _random_order((seed, 0, epoch), count)
    return blocks, int(np.flatnonzero(blocks == count - 1)[0])


def _random_order(key: tuple[int, ...], length: int) -> np.ndarray:
    # The stream of a bit generator is fixed across NumPy versions; Generator.permutation is not. A run may be resumed later.
    order = np.argsort(np.random.PCG64(key).random_raw(length), kind="stable")
    return order.astype(np.uint32) if length < 2**32 else order
