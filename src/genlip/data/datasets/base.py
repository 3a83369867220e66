"""Base: protocols of evaluation sets: images with one class, or with a class at each pixel.

In: an index. Out: one image with its label or label map. Captioned sets are sources, as for training
    (`genlip.data.sources`).

Axes: H, W pixels of an image.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from genlip.data.examples import ImageLike

__all__ = ["IGNORED", "Labelled", "LabelledSet", "Segmented", "SegmentedSet"]

IGNORED = -1  # label of pixels without a class: they have no loss and are not scored


class Labelled(NamedTuple):
    """One image of a class.

    Attributes:
        key: names it in messages and results.
        image: a path, encoded bytes or a Pillow image.
        label: number of its class.
    """

    key: str
    image: ImageLike
    label: int


class LabelledSet(Protocol):
    """Images of known classes with a length and random access; the same index always gives the same image."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in words; a label is a place among them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Labelled:
        """The image. Raises `Unusable` where it cannot be read."""
        ...


class Segmented(NamedTuple):
    """One image with a class at each pixel.

    Attributes:
        key: names it in messages and results.
        image: a path, encoded bytes or a Pillow image.
        labels: Int16[H W], the class of each pixel of the image, or `IGNORED`.
    """

    key: str
    image: ImageLike
    labels: np.ndarray


class SegmentedSet(Protocol):
    """Images with label maps, a length and random access."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in words; a label is a place among them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Segmented:
        """The image. Raises `Unusable` where it cannot be read, and ValueError where its label map has another size."""
        ...
