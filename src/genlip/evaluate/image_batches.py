"""Image batches: the images of a set that can be used, prepared for an encoder, some at a time.

In: a set of images. Out: each item with its image as the encoder reads it and as a page shows it; one that cannot be used is
skipped and named in the log. Only one image at a time is in memory at its full size. A part of a set is drawn evenly: one
item from each of as many equal stretches of the set. Folders are often in the order of their classes, and where a set
repeats in a rhythm, every tenth item may always be the same kind. The draw is always the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from genlip.data.examples import Unusable
from genlip.data.images import decode, reduced
from genlip.encoder import Encoder, Prepared
from genlip.evaluate.frozen.features import ImageSet, KeyedImage

__all__ = ["ImageItem", "image_batches", "read_image", "spread"]

log = logging.getLogger(__name__)

_SIDE = 1024  # pixels of the longer side of the largest picture that a page shows


class ImageItem(NamedTuple):
    """An item that can be used.

    Attributes:
        item: as the set gave it.
        prepared: its image, sized for the encoder.
        picture: its image for pages, with a longer side of at most 1024 pixels.
        size: (height, width) of the upright image, in pixels.
    """

    item: KeyedImage
    prepared: Prepared
    picture: Image.Image
    size: tuple[int, int]


def read_image(item: KeyedImage, encoder: Encoder) -> ImageItem:
    """An item with its image, decoded once. Raises `ImageError`."""
    image = decode(item.image, encoder.max_pixels)
    return ImageItem(item, encoder.prepare(image), reduced(image, _SIDE), (image.height, image.width))


def spread(length: int, number: int) -> list[int]:
    """Ascending numbers of so many items of a set of `length`, one of each equal stretch; all where there are no more.

    The same for every model and seed, so that all are measured on the same items.
    """
    taken = min(number, length)
    edges = np.arange(taken + 1) * length // max(1, taken)
    return np.random.default_rng(0).integers(edges[:-1], edges[1:]).tolist() if taken else []


def image_batches(
    data: ImageSet,
    number: int,
    batch_size: int,
    encoder: Encoder,
    advance: Callable[[int], None] = lambda done: None,
) -> Iterator[list[ImageItem]]:
    """So many items of a set, with their images, in lists of at most `batch_size`; a list may be empty.

    advance  is called with the number of newly finished items, skipped ones included, when the next list is requested

    Raises ValueError for a set without items, and where `number` or `batch_size` is below 1.
    """
    if not len(data):
        raise ValueError(f"{data.name} holds no images: need at least 1")
    if number < 1 or batch_size < 1:
        raise ValueError(f"{number} images of {data.name}, {batch_size} at a time: both must be at least 1")
    chosen = spread(len(data), number)
    for start in range(0, len(chosen), batch_size):
        some = chosen[start : start + batch_size]
        yield [found for index in some if (found := _usable(data, index, encoder)) is not None]
        advance(len(some))


def _usable(data: ImageSet, index: int, encoder: Encoder) -> ImageItem | None:
    try:
        return read_image(data[index], encoder)
    except Unusable as error:
        log.warning("skipped %s", error)
        return None
