"""The image processor of GenLIP in Transformers: one fixed size, or patches in the image's own aspect ratio.

In: Pillow images, arrays or tensors, paths, URLs. Out: `pixel_values` in [-1, 1], as images of one size ("fixed", stage 1)
or as padded patches with `pixel_attention_mask` and `spatial_shapes` ("native", stage 2).

Images are resized by PyTorch's bicubic interpolation on bytes, not by torchvision or Pillow. So the pixels equal those of
genlip's training and do not depend on other installed libraries.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_utils import load_image

__all__ = ["GenLIPImageProcessor", "flat_images", "native_size", "resized", "upright"]


class GenLIPImageProcessor(BaseImageProcessor):
    """Resizes, normalises and, for native resolution, cuts images into patches.

    Attributes:
        resize: "fixed" resizes every image to `size`; "native" keeps its aspect ratio, and the number of patches varies.
        size: {"height", "width"} in pixels of a fixed image.
        patch_size: side of a patch in pixels.
        min_patches, max_patches: range of patches of a native image.
        image_mean, image_std: of each channel, after bytes are divided by 255.
        num_channels: 3 for RGB, 1 for grey.
    """

    model_input_names = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]  # noqa: RUF012

    def __init__(
        self,
        resize: str = "fixed",
        size: Mapping[str, int] | int = 224,
        patch_size: int = 16,
        min_patches: int = 16,
        max_patches: int = 1024,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        num_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        _check_unused(kwargs)
        super().__init__(**kwargs)
        self.patch_size, self.num_channels = patch_size, num_channels
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.resize, self.size, self.min_patches, self.max_patches = self._checked(resize, size, min_patches, max_patches)

    def preprocess(
        self,
        images: Any,
        return_tensors: str | None = None,
        resize: str | None = None,
        size: Mapping[str, int] | int | None = None,
        min_patches: int | None = None,
        max_patches: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Pixels of one or several images; resize, size and the range of patches replace the processor's own settings.

        No step can be skipped: `do_resize=False` and similar keywords are refused, as are unknown keywords.
        """
        _check_unused(kwargs)
        resize, sides, fewest, most = self._checked(
            self.resize if resize is None else resize,
            self.size if size is None else size,
            self.min_patches if min_patches is None else min_patches,
            self.max_patches if max_patches is None else max_patches,
        )
        pixels = [upright(image, self.num_channels) for image in flat_images(images)]
        if resize == "fixed":
            values = [self._normalised(resized(x, sides["height"], sides["width"])) for x in pixels]
            return BatchFeature({"pixel_values": torch.stack(values)}, tensor_type=return_tensors)
        sizes = [native_size(x.shape[1], x.shape[2], self.patch_size, fewest, most) for x in pixels]
        values = [self._normalised(resized(x, *found)) for x, found in zip(pixels, sizes, strict=True)]
        return BatchFeature(dict(self._padded(values)), tensor_type=return_tensors)

    @property
    def crop_size(self) -> dict[str, int] | None:
        """Height and width of fixed images, under the name that `LlavaProcessor` reads; None for native images."""
        return self.size if self.resize == "fixed" else None

    def get_number_of_image_patches(self, height: int, width: int, images_kwargs: Mapping[str, Any] | None = None) -> int:
        """Patches of an image of this height and width in pixels, under the name that Transformers uses.

        images_kwargs  settings that replace the processor's own, as for `preprocess`
        """
        rows, columns = self.grid_of(height, width, **(images_kwargs or {}))
        return rows * columns

    def grid_of(self, height: int, width: int, **settings: Any) -> tuple[int, int]:
        """Rows and columns of patches of an image of this height and width in pixels.

        settings  replace the processor's own, as for `preprocess`
        """
        names = ("resize", "size", "min_patches", "max_patches")
        _check_unused({name: value for name, value in settings.items() if name not in names})
        chosen = [getattr(self, name) if settings.get(name) is None else settings[name] for name in names]
        resize, sides, fewest, most = self._checked(*chosen)
        if resize == "native":
            height, width = native_size(height, width, self.patch_size, fewest, most)
        else:
            height, width = sides["height"], sides["width"]
        return height // self.patch_size, width // self.patch_size

    def _checked(
        self, resize: str, size: Mapping[str, int] | int, fewest: int, most: int
    ) -> tuple[str, dict[str, int], int, int]:
        """The settings in one format. Raises ValueError if they are impossible."""
        sides = {"height": size, "width": size} if isinstance(size, int) else dict(size)
        if resize not in ("fixed", "native"):
            raise ValueError(f"resize is {resize!r}: need 'fixed' or 'native'")
        if sides.keys() != {"height", "width"} or any(x < 1 or x % self.patch_size for x in sides.values()):
            raise ValueError(f"size is {size}: need height and width in pixels, multiples of patch_size {self.patch_size}")
        if not 1 <= fewest <= most:
            raise ValueError(f"min_patches {fewest} and max_patches {most}: need a range that starts at 1 or more")
        return resize, sides, fewest, most

    def _normalised(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(x)[: self.num_channels, None, None] for x in (self.image_mean, self.image_std))
        return (pixels.float() / 255 - mean) / std

    def _padded(self, values: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Images as patches, row-major and channel first, padded with zeros to the longest."""
        size = self.patch_size
        patches = [F.unfold(x[None], size, stride=size)[0].T for x in values]
        marks = [torch.ones(len(x), dtype=torch.long) for x in patches]
        pad = torch.nn.utils.rnn.pad_sequence
        yield "pixel_values", pad(patches, batch_first=True)
        yield "pixel_attention_mask", pad(marks, batch_first=True)
        yield "spatial_shapes", torch.tensor([[x.shape[1] // size, x.shape[2] // size] for x in values])


def _check_unused(keywords: Mapping[str, Any]) -> None:
    """Raises TypeError for a keyword that would be ignored, unless it requests the default behaviour.

    Keywords that Transformers writes into its files are accepted.
    """
    accepted = ("device", "use_fast", "backend", "auto_map")
    unknown = [
        f"{key}={value!r}"
        for key, value in sorted(keywords.items())
        if not (value is None or key in accepted or key.endswith(("_type", "_class")))
        and not (key.startswith("do_") and value is True)
    ]
    if unknown:
        raise TypeError(
            f"GenLIPImageProcessor takes resize, size, min_patches and max_patches, and cannot do {', '.join(unknown)}"
        )


def flat_images(images: Any) -> list[Any]:
    """One image or nested lists of images as a flat list, with files and URLs opened. Raises ValueError if it is empty."""
    found = list(_each(images))
    if not found:
        raise ValueError("no images: give at least one")
    return found


def _each(images: Any) -> Iterator[Any]:
    if isinstance(images, (list, tuple)):
        for part in images:
            yield from _each(part)
    elif isinstance(images, (str, os.PathLike)) and Path(images).is_file():
        yield Image.open(images)
    elif isinstance(images, str):
        yield load_image(images)
    elif isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        yield from images
    else:
        yield images


def native_size(height: int, width: int, patch: int, min_patches: int, max_patches: int) -> tuple[int, int]:
    """The multiples of `patch` nearest to height and width within the range of patches (the published rule)."""
    rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
    if rows * columns > max_patches:
        rows, columns = (max(1, math.isqrt(max_patches * a // b)) for a, b in ((height, width), (width, height)))
    elif rows * columns < min_patches:
        rows, columns = (1 + math.isqrt((min_patches * a - 1) // b) for a, b in ((height, width), (width, height)))
    rows, columns = min(rows, max(1, max_patches // columns)), min(columns, max(1, max_patches // rows))
    return rows * patch, columns * patch


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """UInt8[C H W] resized: bicubic with antialiasing. A very tall image is reduced in height first, as Pillow does it."""
    rows, columns = pixels.shape[1:]
    if (rows, columns) == (height, width):
        return pixels
    if columns == 1:  # PyTorch without AVX2 gives wrong pixels for one column; two equal columns are the same image
        pixels, columns = pixels.repeat(1, 1, 2), 2
    sizes = [(height, columns)] if rows - height > max(0, 2 * (columns - width)) else []
    planes = pixels[None].contiguous(memory_format=torch.channels_last)
    for target in (*sizes, (height, width)):
        planes = F.interpolate(planes, target, mode="bicubic", antialias=True)
    return planes[0]


def upright(image: Any, channels: int) -> Tensor:
    """UInt8[C H W] of an image: EXIF orientation applied, transparency over white, 8 bits, RGB or grey.

    Arrays and tensors are [H W], [H W C] or [C H W]; floating-point values must be in [0, 1].
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_bytes(image))
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith(("I", "F")):
        image = _in_8_bits(image)
    if image.mode == "La":  # Pillow converts this mode only to LA
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    pixels = np.array(image if turn is None else image.transpose(turn))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


_TURNS = dict(zip(range(2, 9), (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
), strict=True))  # fmt: skip


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(0x0112, 1)
    except (OSError, RuntimeError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return 1  # broken EXIF data: assume no rotation


def _in_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    # Pillow opens some 16-bit grey images in its 32-bit mode; all other 32-bit images hold values up to 255.
    if image.mode.startswith("I;16") or (image.mode == "I" and values.max(initial=0) > 255):
        values = values // 256
    return Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8))


def _bytes(image: Any) -> np.ndarray:
    """UInt8[H W] or [H W C] of an array or tensor of pixels."""
    values = np.asarray(image.detach().cpu().float() if isinstance(image, Tensor) and image.is_floating_point() else image)
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)) or not values.size:
        raise ValueError(f"an array of shape {np.shape(image)}: need [height, width], with 1, 3 or 4 channels first or last")
    if values.dtype == np.uint8:
        return values
    if not (np.issubdtype(values.dtype, np.floating) and values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"an array of {values.dtype} in [{values.min()}, {values.max()}]: need bytes, or numbers in [0, 1]")
    return (values * 255).round().astype(np.uint8)
