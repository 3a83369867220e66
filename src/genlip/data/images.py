"""Images: bytes -> RGB -> resized -> patches and grid. The only place that decodes an image.

In: the bytes of a file, a path, or a Pillow image. Out: UInt8[N, C*P*P] patches and their (rows, columns).
The rules are fixed. EXIF orientation is applied, transparency is blended over white, and an animation gives its first frame.
Palette, CMYK and deeper values become 8-bit RGB (`genlip.data.pixel_modes`). The number of pixels is limited before
decoding.

simplejpeg decodes JPEGs to exactly the pixels of Pillow; Pillow decodes everything else. PyTorch resizes: with AVX2 it is
several times as fast as Pillow, and differs by at most two of 255 levels (benchmarks/decoders.md).
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError, features

from genlip.data.examples import ImageLike, Unusable
from genlip.data.pixel_modes import DAMAGE, check_depth, to_mode, upright
from genlip.model.config import GenLIPConfig
from genlip.model.fields import check_fields, shown
from genlip.model.file_kinds import what_is

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageConfig",
    "ImageError",
    "ImageLike",
    "Patches",
    "decode",
    "decode_pixels",
    "file_suffix",
    "image_patches",
    "is_ribbon",
    "native_size",
    "opened",
    "patchify",
    "prepare_image",
    "read_file",
    "reduced",
    "refuse_url",
    "resize",
]  # fmt: skip

# Pillow can also open formats that start other programs (EPS) or are no images.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM") + (("AVIF",) if features.check("avif") else ())
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm", ".avif", ".avifs", ".mpo",
)  # fmt: skip
_MAX_BYTES = 2**29
# Limits of settings, which may come with a model from elsewhere: larger ones could use all memory.
_MOST = {"size": 4096, "max_patches": 65_536, "max_pixels": 1_000_000_000}
_MAX_SCANS = 100  # limit for a JPEG: cameras and encoders write up to about 20, and each is a pass over all pixels
_MAX_JPEG_HEADER = 2**25  # limit of the bytes before the pixels: profiles, EXIF and previews
_MAX_NAME = 300  # characters of a name in a message

# Pillow's warnings on metadata and size name no file, and each is different: too many lines on a large data set.
for _warning in (UserWarning, Image.DecompressionBombWarning):
    warnings.filterwarnings("ignore", category=_warning, module=r"PIL\.")


class ImageError(Unusable):
    """An image that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How an image becomes patches.

    Attributes:
        resize: "fixed" resizes every image to size x size pixels (stage 1). "native" keeps the aspect ratio; the number of
            patches varies (stage 2).
        size: side in pixels of a fixed image; a multiple of the patch size.
        min_patches: fewest patches of a native image; smaller ones are enlarged.
        max_patches: most patches of a native image; larger ones are reduced. If it is less than four times
            `min_patches`, both limits cannot always hold; then the maximum does.
        max_pixels: images with more pixels than this are refused before they are decoded.
    """

    resize: Literal["fixed", "native"] = "fixed"
    size: int = 224
    min_patches: int = 16
    max_patches: int = 1024
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        check_fields(self, "images.", but=("resize",))
        if self.resize not in ("fixed", "native"):
            raise ValueError(f"resize is {shown(self.resize)}: need 'fixed' or 'native'")
        if self.size < 1 or not 1 <= self.min_patches <= self.max_patches or self.max_pixels < 1:
            raise ValueError(
                f"size {self.size} and max_pixels {self.max_pixels} must be positive, and patches within "
                f"[{self.min_patches}, {self.max_patches}] a range that starts at 1 or more"
            )
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"images.{name} is {getattr(self, name)}: it must be at most {most:,}")


class Patches(NamedTuple):
    """The patches of an image.

    Attributes:
        patches: UInt8[N, C*P*P], row-major, channel first.
        grid: (rows, columns) of patches.
        squeezed: whether its aspect ratio was changed; see `is_ribbon`.
    """

    patches: np.ndarray
    grid: tuple[int, int]
    squeezed: bool


def image_patches(
    image: ImageLike | Patches, image_config: ImageConfig, model_config: GenLIPConfig
) -> tuple[np.ndarray, tuple[int, int]]:
    """UInt8[N, C*P*P] patches and the grid (rows, columns) of an image. Raises `ImageError` where it cannot be used."""
    return prepare_image(image, image_config, model_config)[:2]


def prepare_image(image: ImageLike | Patches, image_config: ImageConfig, model_config: GenLIPConfig) -> Patches:
    """The patches of an image, resized for a model; `Patches` are returned as they are. Raises `ImageError` for an image
    that cannot be used, ValueError for a fixed size that the patch size does not divide."""
    if isinstance(image, Patches):
        return image
    pixels = decode_pixels(image, image_config.max_pixels, "RGB" if model_config.num_channels == 3 else "L")
    height, width = pixels.shape[:2]
    side, squeezed = (
        model_config.patch_size,
        image_config.resize == "native" and is_ribbon(height, width, image_config.max_patches),
    )
    if image_config.resize == "fixed":
        if image_config.size % side:
            raise ValueError(f"images.size {image_config.size} is no multiple of the model's patch_size {side}")
        if (image_config.size // side) ** 2 > _MOST["max_patches"]:
            raise ValueError(
                f"images.size {image_config.size} has more than {_MOST['max_patches']:,} patches of {side} pixels"
            )
        height = width = image_config.size
    else:
        height, width = native_size(height, width, side, image_config.min_patches, image_config.max_patches)
    return Patches(patchify(resize(pixels, height, width), side), (height // side, width // side), squeezed)


def decode(image: ImageLike, max_pixels: int = 100_000_000, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """The upright image in 8-bit RGB or grey. Raises `ImageError` with a reason if it cannot be used."""
    return Image.fromarray(decode_pixels(image, max_pixels, mode))


def decode_pixels(image: ImageLike, max_pixels: int = 100_000_000, mode: Literal["RGB", "L"] = "RGB") -> np.ndarray:
    """UInt8[H, W, 3] pixels of an upright image, [H, W] for grey. Raises `ImageError` with a reason."""
    with opened(image, max_pixels) as (data, pil_image):
        pixels = _jpeg_pixels(data, pil_image, mode)
        if pixels is None:
            pixels = _pillow_pixels(pil_image, mode)
            check_depth(data, pil_image)
        return upright(pixels, pil_image)


@contextmanager
def opened(image: ImageLike, max_pixels: int) -> Iterator[tuple[bytes, Image.Image]]:
    """The bytes of an image's file, and the Pillow image with a checked header; no pixels are decoded yet.

    Errors of the file, also those while the block decodes it, are raised as `ImageError` with a reason.
    """
    if not isinstance(image, (bytes, str, os.PathLike, Image.Image)):
        raise TypeError(f"an image is a path, bytes or a Pillow image, not {type(image).__name__}")
    data = _bytes(image)
    try:
        _check_jpeg(data)
        pil_image = image if isinstance(image, Image.Image) else _open(data)
        _check_size(pil_image, max_pixels)
        yield data, pil_image
    except Unusable as error:
        raise ImageError(error.reason, f"{_name(image)}: {error}") from None
    except UnidentifiedImageError:
        raise ImageError("not an image", f"{_name(image)}: {_unknown(data)}") from None
    except Image.DecompressionBombError as error:
        raise ImageError("too large", f"{_name(image)}: {error}") from None
    except DAMAGE as error:
        _raise_lack_of_memory(error)
        raise ImageError("damaged", f"{_name(image)}: damaged image: {_clipped(str(error))}") from error


def resize(pixels: np.ndarray, height: int, width: int, height_first: bool = True) -> np.ndarray:
    """UInt8 pixels [H, W] or [H, W, C] of another size: bicubic with antialiasing.

    height_first  reduce a tall image in height first, as Pillow does it; torchvision does not
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    import torch  # here: ONNX Runtime uses this file without PyTorch
    from torch.nn import functional

    if pixels.shape[1] == 1:  # PyTorch without AVX2 resizes a single column wrongly; two equal columns give the same image
        pixels = pixels.repeat(2, axis=1)
    # PyTorch takes no negative strides; NumPy calls an array with a side of one pixel contiguous even then.
    if not (pixels.flags.c_contiguous and pixels.flags.writeable) or min(pixels.strides) < 0:
        pixels = pixels.copy()
    rows, columns = pixels.shape[:2]
    planes = torch.from_numpy(pixels).reshape(rows, columns, -1).permute(2, 0, 1)[None]
    # As in Pillow 13: reduce the height first, so that a tall ribbon is not widened at full height.
    if height_first and rows - height > max(0, 2 * (columns - width)):
        planes = functional.interpolate(planes, (height, columns), mode="bicubic", antialias=True)
    planes = functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)[0]
    return planes.permute(1, 2, 0).reshape(height, width, *pixels.shape[2:]).numpy()


def native_size(height: int, width: int, patch: int, min_patches: int, max_patches: int) -> tuple[int, int]:
    """Height and width in pixels, multiples of `patch`, close to those of the image and within the range of patches.

    The published rule, in patches: round; if too many, scale down and floor; if too few, scale up and ceil. A side has at
    least one patch. The long side of a ribbon is then limited by the maximum.
    """
    rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
    if rows * columns > max_patches:  # integers: a float slightly below 32 would be floored to 31
        rows = max(1, math.isqrt(max_patches * height // width))
        columns = max(1, math.isqrt(max_patches * width // height))
    elif rows * columns < min_patches:
        rows = 1 + math.isqrt((min_patches * height - 1) // width)
        columns = 1 + math.isqrt((min_patches * width - 1) // height)
    rows, columns = min(rows, max(1, max_patches // columns)), min(columns, max(1, max_patches // rows))
    return rows * patch, columns * patch


def file_suffix(data: bytes) -> str:
    """The usual suffix of an image's format, without a dot, from its first bytes. Raises `ImageError` for any other file."""
    try:
        found = _open(data).format or ""
    except Image.DecompressionBombError as error:
        raise ImageError("too large", f"{len(data)} bytes: {error}") from None
    except (UnidentifiedImageError, *DAMAGE) as error:
        raise ImageError("not an image", f"{len(data)} bytes: {_unknown(data)}") from error
    return {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}.get(found, found.lower())


def reduced(image: Image.Image, side: int, method: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The image reduced to at most `side` pixels on the longer side; each side keeps at least one pixel."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), method)


def is_ribbon(height: int, width: int, max_patches: int) -> bool:
    """Whether an image is so long that its aspect ratio cannot be kept even with one patch across; `native_size` changes
    it."""
    return max(height, width) > max_patches * min(height, width)


def patchify(pixels: np.ndarray, patch: int) -> np.ndarray:
    """[H, W, C] or [H, W] -> [H/P * W/P, C*P*P], patches row-major, each with its channels first."""
    height, width, channels = (*pixels.shape, 1)[:3]
    grid = pixels.reshape(height // patch, patch, width // patch, patch, channels)
    return grid.transpose(0, 2, 4, 1, 3).copy().reshape(-1, channels * patch * patch)


def _bytes(image: ImageLike) -> bytes:
    """The bytes of the file; empty for an image that Pillow has already opened."""
    if isinstance(image, Image.Image):
        return b""
    return image if isinstance(image, bytes) else read_file(image)


def _open(data: bytes) -> Image.Image:
    """Reads the header only."""
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def _unknown(data: bytes) -> str:
    """The message for a file that Pillow does not recognise: what it seems to be, and the formats that are read."""
    names, found = [name.replace("WEBP", "WebP") for name in _FORMATS], what_is(data)
    if any(found.endswith(f" {name} image") for name in names):
        found += " of a kind that is not read, or with a damaged header"
    return f"not an image in a known format: {found or 'of unknown content'} (formats read: {', '.join(names)})"


def _check_size(pil_image: Image.Image, max_pixels: int) -> None:
    if not 0 < pil_image.width * pil_image.height <= max_pixels:
        size = f"{pil_image.width}x{pil_image.height}"
        raise Unusable("too large", f"{size} pixels; the limit is {max_pixels} in all (images.max_pixels)")


# A JPEG marker; inside coded pixels, 0xFF is followed by 0 or by a restart marker.
_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)


def _check_jpeg(data: bytes) -> None:
    """Refuse a JPEG that needs far more time than its pixels: with thousands of scans, or much metadata before them."""
    if data[:2] != b"\xff\xd8" or (data.count(b"\xff\xda") <= _MAX_SCANS and len(data) <= _MAX_JPEG_HEADER):
        return
    scans, place = 0, 2
    while (marker := _MARKER.search(data, place)) and marker[1] != b"\xd9":
        if marker[1] == b"\xda":
            scans += 1
        if not scans and marker.end() > _MAX_JPEG_HEADER:
            raise Unusable("too large", f"a JPEG with more than {_MAX_JPEG_HEADER} bytes of metadata before its pixels")
        if scans > _MAX_SCANS:
            raise Unusable("too large", f"a JPEG of more than {_MAX_SCANS} scans; save it anew")
        place = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))


def _jpeg_pixels(data: bytes, pil_image: Image.Image, mode: str) -> np.ndarray | None:
    """Pixels of a valid JPEG whose colours need no conversion; None if Pillow must decode it."""
    if data[:2] != b"\xff\xd8" or pil_image.mode not in (mode, "L"):
        return None
    size = (pil_image.height, pil_image.width, 3 if mode == "RGB" else 1)
    try:  # the buffer has the size that was checked, so nothing larger can be decoded
        pixels = simplejpeg.decode_jpeg(data, "RGB" if mode == "RGB" else "GRAY", buffer=np.empty(size, np.uint8))
    except ValueError:  # damaged or unusual: Pillow decodes it, or raises the error
        return None
    if pixels.shape != size:
        return None
    return pixels if mode == "RGB" else pixels[..., 0]


def _pillow_pixels(pil_image: Image.Image, mode: str) -> np.ndarray:
    pil_image.load()
    return np.array(to_mode(pil_image, mode))


_URL = re.compile(r"data:|[a-zA-Z][a-zA-Z0-9+.-]+:/")  # one slash is enough: a Path removes the second


def refuse_url(name: str) -> None:
    """Raise `ImageError` for a URL. URLs in a list of images are not fetched: the list may come from anyone."""
    if (url := _URL.match(name)) and not Path(name[:_MAX_NAME]).exists():
        kind = (
            "a data: URL: decode it and give its bytes" if url[0] == "data:" else "a URL, which is not fetched: download it"
        )
        raise ImageError("missing", f"{_clipped(name)}: {kind}")


def read_file(file: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file of at most 512 MiB.

    Raises `ImageError` for anything else: a list of images may name any path.
    """
    refuse_url(str(file))
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("not an image", f"{_name(path)}: not a file")
        with path.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("missing", f"{_name(path)}: no such file") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # no permission, a broken disk, an invalid name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError("damaged", f"{_name(path)}: cannot be read: {reason}") from error
    if len(data) > _MAX_BYTES:
        raise ImageError("too large", f"{_name(path)}: more than {_MAX_BYTES} bytes")
    return data


def _raise_lack_of_memory(error: BaseException) -> None:
    """Pillow's decoders raise an OSError when memory is short, which is not the fault of the file."""
    if isinstance(error, OSError) and "out of memory" in str(error):
        raise MemoryError(str(error)) from error


def _name(image: ImageLike) -> str:
    return f"{len(image)} bytes" if isinstance(image, bytes) else _clipped(str(getattr(image, "filename", None) or image))


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME // 2]}…{text[-_MAX_NAME // 2 :]}"
