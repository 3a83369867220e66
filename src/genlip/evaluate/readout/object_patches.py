"""Object patches: which patches of an image an object covers.

In: the object's pixels and the grid of patches. Out: how much of each patch it covers, and which patches are its own.
Models see an image resized, and patches seldom end where pixels do; the share of a patch is therefore exact area on the
image as it was: a pixel on the border of two patches counts for each by the part that lies there.

Axes: H, W pixels of an image; p patches, row-major.
"""

from __future__ import annotations

import numpy as np

__all__ = ["covered", "own_patches"]


def covered(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Bool[H W] -> Float64[p], the share in [0, 1] of each patch's area that is marked; `grid` is (rows, columns)."""
    rows, columns = (_parts(size, parts) for size, parts in zip(mask.shape, grid, strict=True))
    return (rows @ mask.astype(np.float64) @ columns.T).ravel()


def own_patches(share: np.ndarray) -> np.ndarray:
    """Float[p] -> Bool[p]: patches that an object covers by half or more, and the one it covers most, however little.

    So a small object has a patch too. An object without pixels has none; of equally covered patches the first is the most.
    """
    own = share >= 0.5 - 1e-9  # sums of parts of pixels are not exact
    if share.any():
        own[share.argmax()] = True
    return own


def _parts(pixels: int, parts: int) -> np.ndarray:
    """Float64[parts, pixels], the share of each of equal parts of a side that each pixel of it makes up; rows sum to 1."""
    edges = np.arange(parts + 1) * (pixels / parts)
    start, end = edges[:-1, None], edges[1:, None]
    pixel = np.arange(pixels)
    overlap = np.minimum(end, pixel + 1) - np.maximum(start, pixel)
    return overlap.clip(min=0) * (parts / pixels)
