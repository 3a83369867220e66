"""Images as Transformers hands them to GenLIP: one fixed size, or patches of their own aspect ratio.

In: Pillow images, arrays or tensors, paths, URLs. Out: `pixel_values` in [-1, 1], as images of one size ("fixed", stage 1)
or as padded patches with `pixel_attention_mask` and `spatial_shapes` ("native", stage 2).

Neither torchvision nor Pillow resizes: PyTorch's own bicubic does, on bytes, so that pixels are those that genlip trains
with and do not depend on what else is installed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_utils import make_flat_list_of_images

__all__ = ["GenLIPImageProcessor"]


class GenLIPImageProcessor(BaseImageProcessor):
    """Resizes, normalises and, for native images, cuts into patches.

    Attributes:
        resize: "fixed" squeezes every image to `size`; "native" keeps its aspect ratio and lets the number of patches vary.
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
        image_mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        image_std: tuple[float, ...] = (0.5, 0.5, 0.5),
        num_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if resize not in ("fixed", "native"):
            raise ValueError(f"resize is {resize!r}: need 'fixed' or 'native'")
        self.resize = resize
        self.size = {"height": size, "width": size} if isinstance(size, int) else dict(size)
        self.patch_size, self.min_patches, self.max_patches = patch_size, min_patches, max_patches
        self.image_mean, self.image_std, self.num_channels = list(image_mean), list(image_std), num_channels

    def preprocess(
        self,
        images: Any,
        return_tensors: str | None = None,
        resize: str | None = None,
        size: Mapping[str, int] | int | None = None,
        max_patches: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Pixels of one image or of several; `resize`, `size` and `max_patches` replace the processor's own.

        Other keywords that Transformers passes to every image processor have no meaning here and are refused by name.
        """
        if unknown := sorted(key for key, value in kwargs.items() if value is not None and key not in _IGNORED):
            raise TypeError(f"GenLIPImageProcessor takes resize, size and max_patches, not {', '.join(unknown)}")
        fixed = {"height": size, "width": size} if isinstance(size, int) else size or self.size
        flat = make_flat_list_of_images(self.fetch_images(images))
        pixels = [upright(image, self.num_channels) for image in flat]
        if (resize or self.resize) == "fixed":
            values = [self._normalised(resized(x, fixed["height"], fixed["width"])) for x in pixels]
            return BatchFeature({"pixel_values": torch.stack(values)}, tensor_type=return_tensors)
        limits = (self.patch_size, self.min_patches, max_patches or self.max_patches)
        sizes = [native_size(x.shape[1], x.shape[2], *limits) for x in pixels]
        values = [self._normalised(resized(x, *size)) for x, size in zip(pixels, sizes, strict=True)]
        return BatchFeature(dict(self._padded(values)), tensor_type=return_tensors)

    def _normalised(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(x)[: self.num_channels, None, None] for x in (self.image_mean, self.image_std))
        return (pixels.float() / 255 - mean) / std

    def _padded(self, values: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Images as patches, row-major and channel first, filled up with zeros to the longest."""
        size = self.patch_size
        patches = [F.unfold(x[None], size, stride=size)[0].T for x in values]
        marks = [torch.ones(len(x), dtype=torch.long) for x in patches]
        pad = torch.nn.utils.rnn.pad_sequence
        yield "pixel_values", pad(patches, batch_first=True)
        yield "pixel_attention_mask", pad(marks, batch_first=True)
        yield "spatial_shapes", torch.tensor([[x.shape[1] // size, x.shape[2] // size] for x in values])


# What Transformers' processors pass along without asking.
_IGNORED = ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb", "device", "data_format", "input_data_format")


def native_size(height: int, width: int, patch: int, min_patches: int, max_patches: int) -> tuple[int, int]:
    """Height and width, multiples of `patch`, near the image's own, within the range of patches (the published rule)."""
    rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
    if rows * columns > max_patches:
        rows, columns = (max(1, math.isqrt(max_patches * a // b)) for a, b in ((height, width), (width, height)))
    elif rows * columns < min_patches:
        rows, columns = (1 + math.isqrt((min_patches * a - 1) // b) for a, b in ((height, width), (width, height)))
    rows, columns = min(rows, max(1, max_patches // columns)), min(columns, max(1, max_patches // rows))
    return rows * patch, columns * patch


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """UInt8[C H W] of another size: bicubic with antialiasing; a tall ribbon shrinks in height first, as Pillow does it."""
    rows, columns = pixels.shape[1:]
    if (rows, columns) == (height, width):
        return pixels
    if columns == 1:  # PyTorch without AVX2 garbles a single column; two equal ones are the same image
        pixels, columns = pixels.repeat(1, 1, 2), 2
    sizes = [(height, columns)] if rows - height > max(0, 2 * (columns - width)) else []
    planes = pixels[None].contiguous(memory_format=torch.channels_last)
    for target in (*sizes, (height, width)):
        planes = F.interpolate(planes, target, mode="bicubic", antialias=True)
    return planes[0]


def upright(image: Any, channels: int) -> Tensor:
    """UInt8[C H W] of an image: EXIF orientation applied, transparency over white, RGB or grey.

    Arrays and tensors are [H W], [H W C] or [C H W]; floating-point ones lie in [0, 1].
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_bytes(np.asarray(image)))
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _bytes(values: np.ndarray) -> np.ndarray:
    """UInt8[H W] or [H W C] of any array of pixels."""
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating) or values.min(initial=0) < 0 or values.max(initial=0) > 1:
        raise ValueError(f"an array of {values.dtype} in [{values.min()}, {values.max()}]: need bytes, or numbers in [0, 1]")
    return (values * 255).round().astype(np.uint8)
