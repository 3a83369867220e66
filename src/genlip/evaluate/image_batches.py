"""Looking: the images of a set that can be used, prepared for a model, some at a time.

In: a set of images. Out: each item with its image as the model reads it and as a page shows it; one that cannot be used is
skipped and named in the log. One image at a time is held at its full size: a batch of large ones would fill the memory.
Where only some are asked for, one is drawn from each of as many equal stretches of the set: folders are often in the order
of their classes, and of a set that repeats in a rhythm, every tenth item may be a single beat. The draw is always the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from genlip.data.examples import Unusable
from genlip.data.images import ImageConfig, Patches, decode, prepare_image, reduced
from genlip.evaluate.frozen.features import ImageSet, KeyedImage
from genlip.model.config import GenLIPConfig

__all__ = ["Looked", "look", "looked_at", "spread"]

log = logging.getLogger(__name__)

_SIDE = 1024  # pixels of the longer side of the largest picture that a page shows


class Looked(NamedTuple):
    """An item that can be used.

    Attributes:
        item: as the set gave it.
        patches: its image, sized for the model.
        picture: its image for pages, with a longer side of at most 1024 pixels.
        size: (height, width) of the upright image, in pixels.
    """

    item: KeyedImage
    patches: Patches
    picture: Image.Image
    size: tuple[int, int]


def look(item: KeyedImage, images: ImageConfig, model: GenLIPConfig) -> Looked:
    """An item with its image, decoded once. Raises `ImageError`."""
    image = decode(item.image, images.max_pixels)
    return Looked(item, prepare_image(image, images, model), reduced(image, _SIDE), (image.height, image.width))


def spread(length: int, number: int) -> list[int]:
    """Ascending numbers of so many items of a set of `length`, one of each equal stretch; all where there are no more.

    The same for every model and seed, so that all are measured on the same items.
    """
    taken = min(number, length)
    edges = np.arange(taken + 1) * length // max(1, taken)
    return np.random.default_rng(0).integers(edges[:-1], edges[1:]).tolist() if taken else []


def looked_at(
    data: ImageSet,
    number: int,
    batch_size: int,
    images: ImageConfig,
    model: GenLIPConfig,
    advance: Callable[[int], None] = lambda done: None,
) -> Iterator[list[Looked]]:
    """So many items of a set, with their images, in lists of at most `batch`; a list may be empty.

    advance  hears of finished items, skipped ones included, once the caller asks for the next list

    Raises ValueError for a set without items, and where nothing or nothing at a time is asked for.
    """
    if not len(data):
        raise ValueError(f"{data.name} holds no images: need at least 1")
    if number < 1 or batch_size < 1:
        raise ValueError(f"{number} images of {data.name}, {batch_size} at a time: both must be at least 1")
    chosen = spread(len(data), number)
    for start in range(0, len(chosen), batch_size):
        some = chosen[start : start + batch_size]
        yield [found for index in some if (found := _usable(data, index, images, model)) is not None]
        advance(len(some))


def _usable(data: ImageSet, index: int, images: ImageConfig, model: GenLIPConfig) -> Looked | None:
    try:
        return look(data[index], images, model)
    except Unusable as error:
        log.warning("skipped %s", error)
        return None
