"""Regions: images whose objects are known, each by its words and its pixels.

In: an index. Out: one image with its objects. Any segmented set gives them: all pixels of a class are one object there,
which the words of the class name.

Axes: H, W pixels of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from genlip.data.datasets.base import SegmentedSet
from genlip.data.examples import ImageLike

__all__ = ["BACKGROUND", "Named", "NamedRegions", "NamedSet", "Object"]

BACKGROUND = "background"  # the name of the class that is no object


class Object(NamedTuple):
    """One thing in an image.

    Attributes:
        words: what it is called, such as ("red", "circle").
        mask: Bool[H W], the pixels where it is seen, at least one.
    """

    words: tuple[str, ...]
    mask: np.ndarray


class Named(NamedTuple):
    """One image whose objects are known.

    Attributes:
        key: names it in messages and results.
        image: a path, encoded bytes or a Pillow image.
        objects: what is in it; none where nothing is known.
    """

    key: str
    image: ImageLike
    objects: tuple[Object, ...]


class NamedSet(Protocol):
    """Images whose objects are known, with a length and random access; the same index always gives the same image."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Named:
        """The image. Raises `Unusable` where it cannot be read."""
        ...


@dataclass(frozen=True)
class NamedRegions:
    """The classes of a segmented set as objects: one for each class in an image but `BACKGROUND`, in order of labels.

    The words of a class are those of its name: "swimming pool" has two.
    """

    segmented: SegmentedSet

    @property
    def name(self) -> str:
        """The segmented set's."""
        return self.segmented.name

    def __len__(self) -> int:
        return len(self.segmented)

    def __getitem__(self, index: int) -> Named:
        key, image, labels = self.segmented[index]
        classes = self.segmented.classes
        present = (int(label) for label in np.unique(labels) if label >= 0 and classes[label] != BACKGROUND)
        return Named(key, image, tuple(Object(tuple(classes[label].split()), labels == label) for label in present))
