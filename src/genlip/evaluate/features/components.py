"""Components: the directions in which patch features differ most, as colours.

In: features of the patches of many images together. Out: three numbers per patch, red, green and blue, and how much of the
features' variance they show. Patches of one colour have similar features, in one image or in two.

Axes: p patches of all images, D width, k components.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Components", "as_colours", "principal_components"]


class Components(NamedTuple):
    """Principal components.

    Attributes:
        values: Float64[p k], each patch along each direction, the centre of all patches at 0.
        directions: Float64[k D], of length 1; of each the entry that is largest in size is positive, so that runs agree.
        explained: Float64[k], shares of the variance, in [0, 1], falling; 0 where there is no variance.
    """

    values: np.ndarray
    directions: np.ndarray
    explained: np.ndarray


def principal_components(features: np.ndarray, number: int = 3) -> Components:
    """Float[p D] -> the first components, in float64 by the covariance: D is far smaller than p."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    variances, directions = variances[::-1].clip(min=0), vectors.T[::-1][:number]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    total = variances.sum()
    explained = variances[:number] / total if total > 0 else np.zeros(len(directions))
    return Components(centred @ directions.T, directions, explained)


def as_colours(values: np.ndarray, tail: float = 0.02) -> np.ndarray:
    """Float[p 3] -> UInt8[p 3], each column from dark to bright between its quantiles `tail` and 1 - `tail`.

    What lies outside is cut off, so that a few far patches do not leave the rest in one shade. A constant column is grey.
    """
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    span = high - low
    place = np.where(span > 0, (values - low) / np.where(span > 0, span, 1), 0.5)
    return np.rint(255 * place.clip(0, 1)).astype(np.uint8)
