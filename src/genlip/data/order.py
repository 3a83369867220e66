"""Order: which sample comes when, as a pure function of (seed, position).

In: the position of a sample in the whole run. Out: its index in the source. Nothing has to be stored to resume.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["order"]


def order(seed: int, length: int, start: int, stop: int) -> np.ndarray:
    """Int64[stop - start], the indices at positions [start, stop) of a run over a source of `length` samples.

    Position p lies in epoch p // length; every epoch is a permutation of its own.
    """
    position = np.arange(start, stop)
    indices = np.empty_like(position)
    for epoch in np.unique(position // length):
        now = position // length == epoch
        indices[now] = _permutation(seed, int(epoch), length)[position[now] % length]
    return indices


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)
