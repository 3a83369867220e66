"""Spikes: is the loss of an update far above what it lately was?

In: the loss of every update. Out: the usual loss, where an update leaves it. A report for the user; training goes on.
"""

from __future__ import annotations

import math

__all__ = ["Spikes"]

_MEMORY, _CALM = 0.98, 50  # about fifty updates are remembered, and as many seen before the first report
_DEVIATIONS, _SHARE = 6.0, 0.1  # far is both: many standard deviations, and a share of the loss itself


class Spikes:
    """Follows the mean and the spread of the loss. A resumed run watches anew."""

    def __init__(self) -> None:
        self.seen, self.mean, self.variance = 0, 0.0, 0.0

    def usual(self, loss: float) -> float | None:
        """The usual loss if this one is a spike, else None. Spikes themselves count little towards what is usual."""
        spiked = self.seen >= _CALM and loss - self.mean > max(_DEVIATIONS * math.sqrt(self.variance), _SHARE * self.mean)
        usual, off = self.mean, min(loss - self.mean, _DEVIATIONS * math.sqrt(self.variance)) if spiked else loss - self.mean
        weight = max(1 - _MEMORY, 1 / (self.seen + 1))
        self.seen += 1
        self.mean += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off**2)
        return usual if spiked else None
