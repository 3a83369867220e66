"""Label maps: a PNG with an index at each pixel -> the class of each pixel.

In: a file, how many classes there are, and the index of the first. Out: Int16[H W] labels. Stored indices are used:
the colours of a palette and EXIF orientation are ignored. Index 255 is `IGNORED`, as usual, unless it is a class.

Axes: H, W pixels of an image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genlip.data.datasets.base import IGNORED
from genlip.data.images import opened

__all__ = ["MAX_PIXELS", "UNLABELLED", "read_indices", "read_labels"]

MAX_PIXELS = 100_000_000  # as the default of `ImageConfig`
UNLABELLED = 255
_MODES = ("1", "L", "P", "I;16", "I")  # Pillow's modes with one number per pixel
_DEPTH = 24  # offset of the bits per pixel in a PNG


def read_labels(file: Path, classes: int, first: int = 0) -> np.ndarray:
    """Int16[H W] labels in [0, classes), or `IGNORED` if the index is below `first` or `UNLABELLED`.

    Raises ValueError for an index above those of the classes, and what `read_indices` raises.
    """
    indices = read_indices(file)
    labels = indices - first
    above = labels >= classes
    if (wrong := indices[above & (indices != UNLABELLED)]).size:
        raise ValueError(
            f"{file}: label {wrong.min()} at {wrong.size} of {indices.size} pixels, but the {classes} classes end at "
            f"{first + classes - 1}; name all classes, or store {UNLABELLED} where there is none"
        )
    return np.where(above | (labels < 0), IGNORED, labels).astype(np.int16)


def read_indices(file: Path) -> np.ndarray:
    """Int32[H W], the stored number of each pixel of a PNG.

    Raises `ImageError` for a damaged file or one above `MAX_PIXELS`, and ValueError for another format or mode.
    """
    with opened(file, MAX_PIXELS) as (data, image):
        kind, mode = image.format, image.mode
        known = kind == "PNG" and mode in _MODES
        if known:
            image.load()  # first: NumPy would hide errors
            indices = np.array(image, dtype=np.int32)
    if not known:
        raise ValueError(f"{file}: a label map is a PNG with one number per pixel (mode L, P or I;16); found {kind}, {mode}")
    # Pillow scales grey of 2 and 4 bits to 0..255.
    return indices // (255 // (2 ** data[_DEPTH] - 1)) if mode == "L" and data[_DEPTH] in (2, 4) else indices
