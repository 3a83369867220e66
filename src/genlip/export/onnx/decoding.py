"""Decoding: how the next token is chosen from its logits, in NumPy.

In: logits of every caption. Out: a token for each. The rules are those of `genlip.Decoding`, without `repetition_stop`; a
seed draws other tokens than there, since NumPy's random numbers are not PyTorch's.

Axes: b captions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["OnnxDecoding", "choose_tokens"]


@dataclass(frozen=True, kw_only=True)
class OnnxDecoding:
    """How the next token is chosen, and when to stop. The default is greedy.

    Attributes:
        max_tokens: most tokens per caption.
        end_ids: tokens that end a caption; they are not part of it.
        temperature: 0 takes the most likely token, more is more adventurous.
        top_k: sample among the k most likely tokens; 0 for all.
        top_p: sample among the most likely tokens that together have this probability, in (0, 1].
        seed: of the sampling; the same seed gives the same captions.
    """

    max_tokens: int = 256
    end_ids: tuple[int, ...] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"cannot decode with max_tokens {self.max_tokens} (at least 1), temperature {self.temperature} "
                f"(at least 0), top_k {self.top_k} (at least 0), top_p {self.top_p} (above 0, at most 1)"
            )


def choose_tokens(logits: np.ndarray, decoding: OnnxDecoding, random: np.random.Generator) -> np.ndarray:
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
