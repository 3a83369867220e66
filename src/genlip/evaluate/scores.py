"""Scores: a measure of a set of images and of each image by itself, with its interval over resampled sets.

In: the evidence of each image, and the aggregator that turns sums of evidence into a score. Out: `Scores`.
Not every corpus score is a mean over images: BLEU and error rates divide sums by sums. So an image leaves a row of
*evidence*, rows are summed, and the same aggregator serves one image, the whole set and every resample of it.

Axes: i images, k columns of evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genlip.evaluate.aggregators import ratio

__all__ = ["Difference", "Interval", "Scores", "difference", "require_references", "resampled"]


class Interval(NamedTuple):
    """The ends of the interval that holds the score of a share of the resampled sets."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Scores:
    """A measure over images.

    Attributes:
        evidence: Float[i k], a row for each image, in the order of the images.
        aggregator: Float[k] -> score, of one row or of a sum of rows; those in `aggregators.AGGREGATORS` can be stored.
    """

    evidence: np.ndarray
    aggregator: Callable[[np.ndarray], float]

    @classmethod
    def mean(cls, per_image: Sequence[float]) -> Scores:
        """Of a measure whose corpus score is the mean over images."""
        return cls(np.stack([np.asarray(per_image, dtype=np.float64), np.ones(len(per_image))], axis=1), ratio)

    @property
    def score(self) -> float:
        """Of the whole set."""
        return self.aggregator(self.evidence.sum(axis=0))

    @property
    def per_image(self) -> list[float]:
        """Of each image as if it were the whole set, in the order given."""
        return [self.aggregator(row) for row in self.evidence]

    def interval(self, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
        """The percentile bootstrap: sets of as many images, drawn with replacement, and the middle `level` of their scores.

        The same seed draws the same images of sets of the same size. Evidence that depends on the other images is not
        computed again: CIDEr keeps the document frequencies of the full set. Raises ValueError unless 0 < level < 1 and
        resamples >= 1.
        """
        return _middle(resampled([self], level, resamples, seed)[:, 0], level)


_NONE = 1e-6


class Difference(NamedTuple):
    """How much higher the second of two scores is, and the interval of that difference over resampled sets."""

    value: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes 0, so that the sign of the difference would hardly change with other images.

        Differences below 1e-6 count as zero: smoothed scores, such as BLEU without any correct n-gram, differ by as little.
        """
        return self.low > _NONE or self.high < -_NONE


def difference(first: Scores, second: Scores, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Difference:
    """The second score minus the first, of the same images in the same order, by a paired bootstrap.

    Both are resampled in the same way, so that an image that is hard for both models does not count as noise. Raises
    ValueError where the numbers of images differ, and as `Scores.interval` does.
    """
    if len(first.evidence) != len(second.evidence):
        raise ValueError(
            f"scores of {len(first.evidence)} and of {len(second.evidence)} images: a paired difference needs the same ones"
        )
    both = resampled([first, second], level, resamples, seed)
    return Difference(second.score - first.score, *_middle(both[:, 1] - both[:, 0], level))


def resampled(some: Sequence[Scores], level: float, resamples: int, seed: int) -> np.ndarray:
    """Float[resamples, scores], each row of the same images drawn with replacement, alike for sets of the same size."""
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level {level} with {resamples} resamples: need 0 < level < 1 and at least 1 resample")
    draw, images = np.random.default_rng(seed), len(some[0].evidence)
    found = np.empty((resamples, len(some)))
    for row in found:
        times = np.bincount(draw.integers(images, size=images), minlength=images)
        row[:] = [scores.aggregator(times @ scores.evidence) for scores in some]
    return found


def _middle(values: np.ndarray, level: float) -> Interval:
    """The middle `level` of the values; those that are not defined, of sets with nothing to count, are left out."""
    if np.isnan(values).all():
        return Interval(float("nan"), float("nan"))
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high)


def require_references(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise ValueError unless there is a caption, and each has at least one reference in a list of its own."""
    if len(candidates) != len(references):
        raise ValueError(
            f"{len(candidates)} captions, references of {len(references)} images: give both for the same images"
        )
    if not candidates:
        raise ValueError("0 captions to score: need at least 1")
    for image, some in enumerate(references):
        if isinstance(some, str):
            raise ValueError(f"the references of image {image} are one text, {some!r}: give a list of texts")
        if not some:
            raise ValueError(f"image {image} has no references: give at least 1, or leave the image out")
