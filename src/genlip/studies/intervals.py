"""Intervals of a mean over seeds: how far it may be from that of many seeds and many images.

In: the scores of the runs of two arms on the same images. Out: the difference of their means, with an interval.

Two things make such a mean uncertain. Other seeds would give other models: that part is Student's t interval of the mean
over seeds. Other images would give other scores of the same models: that part is the percentile bootstrap over images, drawn
alike for all models. The two are added as squares, on each side.

Axes: s seeds, i images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genlip.evaluate.scores import Difference, Scores, resampled

__all__ = ["mean_difference", "mean_interval", "student_t"]

_RESAMPLES, _LEVEL = 1000, 0.95
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # for 1 to 10 degrees of freedom, 95 %


def student_t(degrees: int) -> float:
    """The factor of a two-sided 95 % interval; 0 without degrees of freedom, as nothing is known then."""
    if degrees < 1:
        return 0.0
    return _T[degrees - 1] if degrees <= len(_T) else 1.96 + 2.6 / degrees  # within 0.3 % of the tables


def mean_interval(some: Sequence[Scores]) -> Difference:
    """The mean score of several seeds with its interval, as a difference to 0."""
    return _with_interval([one.score for one in some], _means(some), len(some) - 1, _error(some))


def mean_difference(first: Sequence[Scores], second: Sequence[Scores]) -> Difference:
    """How much higher the mean of the second arm is. The runs need not be as many; the images must be the same.

    Degrees of freedom are those of Welch (1947), rounded down. Raises ValueError where numbers of images differ.
    """
    if len({len(one.evidence) for one in (*first, *second)}) != 1:
        raise ValueError("scores of different numbers of images: measure all runs on the same ones")
    values = float(np.mean([one.score for one in second]) - np.mean([one.score for one in first]))
    errors = _error(first), _error(second)
    error, drawn = math.hypot(*errors), _means(second) - _means(first)
    return _with_interval([values], drawn, _welch(errors, (len(first), len(second))), error)


def _error(some: Sequence[Scores]) -> float:
    """The standard error of the mean over seeds; 0 of one seed, which says nothing about others."""
    return float(np.std([one.score for one in some], ddof=1) / math.sqrt(len(some))) if len(some) > 1 else 0.0


def _welch(errors: tuple[float, float], numbers: tuple[int, int]) -> int:
    parts = [error**4 / (number - 1) for error, number in zip(errors, numbers, strict=True) if number > 1]
    return max(1, int(math.hypot(*errors) ** 4 / sum(parts) + 1e-9)) if sum(parts) else 0


def _means(some: Sequence[Scores]) -> np.ndarray:
    """Float[resamples], the mean over seeds on images drawn with replacement, alike for each call with as many images."""
    return resampled(some, _LEVEL, _RESAMPLES, seed=0).mean(axis=1)


def _with_interval(values: Sequence[float], drawn: np.ndarray, degrees: int, error: float) -> Difference:
    value, of_seeds = float(np.mean(values)), student_t(degrees) * error
    low, high = np.nanquantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Difference(
        value, value - math.hypot(of_seeds, max(0.0, value - low)), value + math.hypot(of_seeds, max(0.0, high - value))
    )
