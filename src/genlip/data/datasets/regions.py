"""Regions: images with known objects, each with its words and its pixels.

In: an index. Out: one image with its objects. Any segmented set can be used: all pixels of a class are one object,
and the words of the class name are its words.

Axes: H, W pixels of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from genlip.data.datasets.base import SegmentedSet
from genlip.data.examples import ImageLike, short_repr

__all__ = ["BACKGROUND", "Named", "NamedRegions", "NamedSet", "Object"]

BACKGROUND = "background"  # name of the class that is not an object


class Object(NamedTuple):
    """One thing in an image.

    Attributes:
        words: its name, such as ("red", "circle").
        mask: Bool[H W], its visible pixels, at least one.
    """

    words: tuple[str, ...]
    mask: np.ndarray


class Named(NamedTuple):
    """One image with known objects.

    Attributes:
        key: names it in messages and results.
        image: a path, encoded bytes or a Pillow image.
        objects: may be empty.
    """

    key: str
    image: ImageLike
    objects: tuple[Object, ...]


class NamedSet(Protocol):
    """Images with known objects, a length and random access; the same index always gives the same image."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Named:
        """The image. Raises `Unusable` if it cannot be read."""
        ...


@dataclass(frozen=True, repr=False)
class NamedRegions:
    """The classes of a segmented set as objects: one for each class in an image except `BACKGROUND`, in order of labels.

    The words of an object are those of its class name: "swimming pool" has two.
    """

    segmented: SegmentedSet

    @property
    def name(self) -> str:
        """The segmented set's."""
        return self.segmented.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.segmented)

    def __getitem__(self, index: int) -> Named:
        key, image, labels = self.segmented[index]
        classes = self.segmented.classes
        present = (int(label) for label in np.unique(labels) if label >= 0 and classes[label] != BACKGROUND)
        return Named(key, image, tuple(Object(tuple(classes[label].split()), labels == label) for label in present))
