"""Spikes: updates whose loss is far above the recent mean.

In: the loss of every update. Out: for a spike, the recent mean. It is reported to the user; training continues.
"""

from __future__ import annotations

import math

__all__ = ["Spikes"]

_MEMORY, _CALM = 0.98, 50  # decay of the mean, about fifty updates; and updates before the first report
_DEVIATIONS, _SHARE = 6.0, 0.1  # a spike is above the mean by more than so many deviations and by more than this share of it


class Spikes:
    """Keeps the running mean and variance of the loss. A resumed run starts without them."""

    def __init__(self) -> None:
        self.seen, self.mean, self.variance = 0, 0.0, 0.0

    def usual(self, loss: float) -> float | None:
        """The recent mean if this loss is a spike, else None. The mean takes in a spike only up to the threshold."""
        spiked = self.seen >= _CALM and loss - self.mean > max(_DEVIATIONS * math.sqrt(self.variance), _SHARE * self.mean)
        usual, off = self.mean, min(loss - self.mean, _DEVIATIONS * math.sqrt(self.variance)) if spiked else loss - self.mean
        weight = max(1 - _MEMORY, 1 / (self.seen + 1))
        self.seen += 1
        self.mean += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off**2)
        return usual if spiked else None
