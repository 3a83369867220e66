"""Pixels: images as inputs of the ONNX graphs, without PyTorch.

In: paths, bytes or Pillow images. Out: Float32[b, C, H, W] in [-1, 1], one array for images of equal size.
`genlip.data.images` decodes and Pillow resizes. Its pixels differ by at most two levels of 255 from those of PyTorch, with
which the model was trained. An image that already has the right size is identical bit for bit.

Axes: b images, C channels, H, W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from genlip.data.images import ImageConfig, ImageLike, decode_pixels, native_size
from genlip.model.config import GenLIPConfig

__all__ = ["checked_pixels", "equal_sizes", "read_pixels"]


def equal_sizes(
    images: Sequence[ImageLike], config: ImageConfig, model: GenLIPConfig, batch: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """For every `batch` images, one array per size: their indices in `images`, and Float32[b C H W].

    Raises `ImageError` if an image cannot be used.
    """
    if isinstance(images, (str, bytes, os.PathLike, Image.Image)):
        raise TypeError(f"images is a single {type(images).__name__}: give a list, such as [image]")
    if batch < 1:
        raise ValueError(f"batch is {batch}: it must be at least 1")
    for start in range(0, len(images), batch):
        sizes: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        for place, image in enumerate(images[start : start + batch], start):
            pixels = read_pixels(image, config, model)
            sizes.setdefault(pixels.shape, []).append((place, pixels))
        for members in sizes.values():
            places, arrays = zip(*members, strict=True)
            yield list(places), np.stack(arrays)


def read_pixels(image: ImageLike, config: ImageConfig, model: GenLIPConfig) -> np.ndarray:
    """Float32[C H W] of an image, resized for a model. Raises `ImageError` if it cannot be used."""
    pixels = decode_pixels(image, config.max_pixels, "RGB" if model.num_channels == 3 else "L")
    height, width = _size(pixels.shape[0], pixels.shape[1], config, model.patch_size)
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    return planes.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _size(height: int, width: int, config: ImageConfig, patch: int) -> tuple[int, int]:
    if config.resize == "native":
        return native_size(height, width, patch, config.min_patches, config.max_patches)
    if config.size % patch:
        raise ValueError(f"images.size {config.size} is not a multiple of the model's patch_size {patch}")
    return config.size, config.size


def checked_pixels(pixel_values: Any, model: GenLIPConfig) -> np.ndarray:
    """Float32[b C H W] of a floating-point array. Raises ValueError if its type or shape does not fit the model."""
    pixels, patch = np.asarray(pixel_values), model.patch_size
    if pixels.dtype.kind != "f":
        raise ValueError(f"pixel_values are {pixels.dtype}: need floats in [-1, 1], which are bytes / 127.5 - 1")
    if (
        pixels.ndim != 4
        or pixels.shape[1] != model.num_channels
        or 0 in pixels.shape
        or any(n % patch for n in pixels.shape[2:])
    ):
        raise ValueError(
            f"pixel_values of shape {list(pixels.shape)}: need [images, {model.num_channels}, height, width], "
            f"height and width multiples of {patch}"
        )
    return pixels.astype(np.float32, copy=False)
