"""Sampling: the next token of every caption from its logits, in NumPy.

In: logits. Out: a token for each caption. The rules are those of `genlip.Decoding`. The same seed gives other tokens than in
PyTorch, since NumPy's random numbers differ from PyTorch's.

Axes: b captions, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from genlip.model.decoding import Decoding

__all__ = ["choose_tokens"]


def choose_tokens(logits: np.ndarray, decoding: Decoding, random: np.random.Generator) -> np.ndarray:
    """Float[b V] -> Int64[b], the next token of each caption. The most likely token is never excluded."""
    if decoding.temperature == 0:
        return logits.argmax(axis=-1)
    token = np.argsort(-logits, axis=-1, kind="stable")
    ordered = np.take_along_axis(logits, token, axis=-1).astype(np.float64) / decoding.temperature
    chance = np.exp(ordered - ordered[:, :1])
    before = (chance.cumsum(axis=-1) - chance) / chance.sum(axis=-1, keepdims=True)
    excluded = before >= decoding.top_p
    if decoding.top_k:
        excluded[:, decoding.top_k :] = True
    excluded[:, 0] = False
    share = np.where(excluded, 0, chance).cumsum(axis=-1)
    drawn = (share <= random.random((len(share), 1)) * share[:, -1:]).sum(axis=-1, keepdims=True)
    return np.take_along_axis(token, drawn, axis=-1)[:, 0]
