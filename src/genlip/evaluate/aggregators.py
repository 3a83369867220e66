"""Aggregators: functions from evidence, of one image or summed over many, to a score.

In: Float[k], a row of evidence or a sum of rows. Out: a number. Stored results name their aggregator, so that intervals
and differences between models can be computed later from their evidence alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["AGGREGATORS", "bleu", "error_rate", "mean_iou", "perplexity", "ratio", "ratio_difference"]

_LONGEST = 4  # words of BLEU's longest n-gram


def ratio(evidence: np.ndarray) -> float:
    """[a, b] -> a / b; NaN where b is 0: nothing was counted. A mean has b = 1 for every image."""
    over, under = evidence.tolist()
    return over / under if under else math.nan


def ratio_difference(evidence: np.ndarray) -> float:
    """[a, b, c, d] -> a / b - c / d; NaN where b or d is 0."""
    return ratio(evidence[:2]) - ratio(evidence[2:])


def perplexity(evidence: np.ndarray) -> float:
    """[nats, tokens] -> exp(nats / tokens); NaN where there are no tokens."""
    return math.exp(min(700.0, ratio(evidence))) if evidence[1] else math.nan


def error_rate(evidence: np.ndarray) -> float:
    """[edits, length] -> edits / length, where the length counts at least 1."""
    wrong, length = evidence.tolist()
    return wrong / max(1.0, length)


def bleu(evidence: np.ndarray) -> float:
    """[words, words of the closest reference, possible n-grams for n of 1 to 4, correct ones] -> BLEU-4."""
    small, tiny = 1e-9, 1e-15  # the reference's: nothing is divided by 0, and 0 of 0 is nearly 0
    length, closest = evidence[:2].tolist()
    possible, correct = evidence[2:].reshape(2, _LONGEST)
    precision = math.prod(((correct + tiny) / (possible + small)).tolist()) ** (1 / _LONGEST)
    return precision * math.exp(min(0.0, 1 - (closest + small) / (length + tiny)))


def mean_iou(evidence: np.ndarray) -> float:
    """[intersection of each of c classes, then union of each] -> the mean of their ratios, over classes that occur.

    A class occurs where a pixel has it in truth or by prediction; NaN where none does.
    """
    intersection, union = evidence.reshape(2, -1)
    occurs = union > 0
    return float((intersection[occurs] / union[occurs]).mean()) if occurs.any() else math.nan


AGGREGATORS: dict[str, Callable[[np.ndarray], float]] = {
    formula.__name__: formula for formula in (ratio, ratio_difference, perplexity, error_rate, bleu, mean_iou)
}
