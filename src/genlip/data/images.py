"""Images: bytes -> RGB -> resized -> patches and grid. The only place that decodes an image.

In: the bytes of a file, a path, or a Pillow image. Out: UInt8[N, C*P*P] patches and their (rows, columns).
The rules are fixed: EXIF orientation is applied, transparency lies over white, 16-bit, palette and CMYK become 8-bit RGB,
an animation gives its first frame, and the number of pixels is bounded before anything is decoded.
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from genlip.model.config import GenLIPConfig

__all__ = ["IMAGE_SUFFIXES", "ImageConfig", "ImageError", "ImageLike", "decode", "image_patches", "native_size", "patchify"]

ImageLike = bytes | str | os.PathLike[str] | Image.Image

# Pillow would also open formats that start other programs (EPS) or hold no image.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
# Pillow's decoders answer damaged files with any of these.
_DAMAGE = (OSError, RuntimeError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError, struct.error)
# What makes an image upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_MAX_BYTES = 2**29


class ImageError(ValueError):
    """An image that cannot be used. `reason` is one of a few words that counters group by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.reason, str(self))


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How an image becomes patches.

    Attributes:
        resize: "fixed" squeezes every image to size x size pixels (stage 1); "native" keeps the aspect ratio and lets the
            number of patches vary (stage 2).
        size: side in pixels of a fixed image; a multiple of the patch size.
        min_patches: fewest patches of a native image; smaller ones are enlarged.
        max_patches: most patches of a native image; larger ones are reduced. Where it is less than four times
            `min_patches`, both cannot always be kept, and the maximum is.
        max_pixels: images with more pixels than this are refused before they are decoded.
    """

    resize: Literal["fixed", "native"] = "fixed"
    size: int = 224
    min_patches: int = 16
    max_patches: int = 1024
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        if self.resize not in ("fixed", "native"):
            raise ValueError(f"resize is {self.resize!r}: need 'fixed' or 'native'")
        if self.size < 1 or not 1 <= self.min_patches <= self.max_patches or self.max_pixels < 1:
            raise ValueError(
                f"size {self.size} and max_pixels {self.max_pixels} must be positive, and patches within "
                f"[{self.min_patches}, {self.max_patches}] a range that starts at 1 or more"
            )


def image_patches(image: ImageLike, config: ImageConfig, model: GenLIPConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """UInt8[N, C*P*P] patches, row-major, and the grid (rows, columns) of an image, sized for a model.

    Raises `ImageError` where the image cannot be used.
    """
    pil_image = decode(image, config.max_pixels, "RGB" if model.num_channels == 3 else "L")
    side = model.patch_size
    if config.resize == "fixed":
        if config.size % side:
            raise ValueError(f"images.size {config.size} is no multiple of the model's patch_size {side}")
        height = width = config.size
    else:
        height, width = native_size(pil_image.height, pil_image.width, side, config.min_patches, config.max_patches)
    if pil_image.size != (width, height):
        pil_image = pil_image.resize((width, height), Image.Resampling.BICUBIC)
    return patchify(np.asarray(pil_image), side), (height // side, width // side)


def decode(image: ImageLike, max_pixels: int = 100_000_000, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """An upright image in 8-bit RGB or grey. Raises `ImageError` with a reason where there is none."""
    if not isinstance(image, (bytes, str, os.PathLike, Image.Image)):
        raise TypeError(f"an image is a path, bytes or a Pillow image, not {type(image).__name__}")
    try:
        return _to_mode(_upright(_open(image, max_pixels)), mode)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("missing", f"{_name(image)}: no such file") from None
    except UnidentifiedImageError:
        raise ImageError("not an image", f"{_name(image)}: not an image in a known format") from None
    except Image.DecompressionBombError as error:
        raise ImageError("too large", f"{_name(image)}: {error}") from None
    except _DAMAGE as error:
        raise ImageError("damaged", f"{_name(image)}: damaged image: {error}") from error


def native_size(height: int, width: int, patch: int, min_patches: int, max_patches: int) -> tuple[int, int]:
    """Height and width in pixels, multiples of `patch`, near the image's own and within the range of patches.

    The published rule, in patches: round; too many scale down and floor; too few scale up and ceil. A side is at least
    one patch; the other side of a ribbon is then cut to what the maximum leaves.
    """
    rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
    if rows * columns > max_patches:  # whole numbers: a float floors 32 patches, a hair below, to 31
        rows = max(1, math.isqrt(max_patches * height // width))
        columns = max(1, math.isqrt(max_patches * width // height))
    elif rows * columns < min_patches:
        rows = 1 + math.isqrt((min_patches * height - 1) // width)
        columns = 1 + math.isqrt((min_patches * width - 1) // height)
    rows, columns = min(rows, max(1, max_patches // columns)), min(columns, max(1, max_patches // rows))
    return rows * patch, columns * patch


def patchify(pixels: np.ndarray, patch: int) -> np.ndarray:
    """[H, W, C] or [H, W] -> [H/P * W/P, C*P*P], patches row-major, each with its channels first."""
    height, width, channels = (*pixels.shape, 1)[:3]
    grid = pixels.reshape(height // patch, patch, width // patch, patch, channels)
    return grid.transpose(0, 2, 4, 1, 3).copy().reshape(-1, channels * patch * patch)


def _open(image: ImageLike, max_pixels: int) -> Image.Image:
    if isinstance(image, Image.Image):
        pil_image = image
    else:
        data = image if isinstance(image, bytes) else _read(Path(image))
        pil_image = Image.open(io.BytesIO(data), formats=_FORMATS)
    pixels = pil_image.width * pil_image.height
    if not 0 < pixels <= max_pixels:
        size = f"{pil_image.width}x{pil_image.height}"
        raise ImageError("too large", f"{_name(image)}: {size} pixels; the limit is {max_pixels} in all (images.max_pixels)")
    pil_image.load()
    return pil_image


def _read(path: Path) -> bytes:
    """The bytes of a regular file of bounded size: a list of images may name anything."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("not an image", f"{path}: not a file")
    if found.st_size > _MAX_BYTES:
        raise ImageError("too large", f"{path}: {found.st_size} bytes; the limit is {_MAX_BYTES}")
    return path.read_bytes()


def _upright(pil_image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also writes the EXIF anew, and fails where any other tag of it is broken.
    try:
        turn = _TURNS.get(pil_image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return pil_image  # broken EXIF says nothing about the pixels
    if turn is None:
        return pil_image
    upright = pil_image.transpose(turn)
    for told in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        upright.info.pop(told, None)  # or the next reader would turn it again
    return upright


def _to_mode(pil_image: Image.Image, mode: str) -> Image.Image:
    if pil_image.mode.startswith(("I", "F")):
        pil_image = _to_8_bits(pil_image)
    if pil_image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in pil_image.info:
        pil_image = pil_image.convert("RGBA")
        pil_image = Image.alpha_composite(Image.new("RGBA", pil_image.size, "white"), pil_image)
    return pil_image if pil_image.mode == mode else pil_image.convert(mode)


def _to_8_bits(pil_image: Image.Image) -> Image.Image:
    values = np.asarray(pil_image)
    # Pillow hands some 16-bit grey over in 32 bits, without saying so; other 32-bit images hold bytes.
    if pil_image.mode.startswith("I;16") or (pil_image.mode == "I" and values.max(initial=0) > 255):
        values = values // 256
    return Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8))


def _name(image: ImageLike) -> str:
    return f"{len(image)} bytes" if isinstance(image, bytes) else str(getattr(image, "filename", None) or image)
