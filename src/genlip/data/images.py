"""Images: bytes -> RGB -> resized -> patches and grid. The only place that decodes an image.

In: the bytes of a file, a path, or a Pillow image. Out: UInt8[N, C*P*P] patches and their (rows, columns).
The rules are fixed: EXIF orientation is applied, transparency lies over white, 16-bit, palette and CMYK become 8-bit RGB,
an animation gives its first frame, and the number of pixels is bounded before anything is decoded.

JPEGs are decoded by simplejpeg, which gives Pillow's very pixels; whatever it does not take, Pillow does. PyTorch resizes,
with AVX2 several times as fast as Pillow, and to within two levels of it (benchmarks/decoders.md).
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from genlip.data.examples import ImageLike, Unusable
from genlip.model.config import GenLIPConfig

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
    "resize",
]  # fmt: skip

# Pillow would also open formats that start other programs (EPS) or hold no image.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm", ".avif", ".avifs", ".mpo",
)  # fmt: skip
# Pillow's decoders answer damaged files with any of these.
_DAMAGE = (OSError, RuntimeError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError, struct.error)
# What makes pixels [H, W, C] upright, by their EXIF orientation.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
_MAX_BYTES = 2**29

# Remarks on metadata and size, which name no file and hold ever other numbers: over a crawl, no end of lines.
for _remark in (UserWarning, Image.DecompressionBombWarning):
    warnings.filterwarnings("ignore", category=_remark, module=r"PIL\.")


class ImageError(Unusable):
    """An image that cannot be used."""


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


class Patches(NamedTuple):
    """An image as a model reads it.

    Attributes:
        patches: UInt8[N, C*P*P], row-major, channel first.
        grid: (rows, columns) of patches.
        squeezed: its shape could not be kept; see `is_ribbon`.
    """

    patches: np.ndarray
    grid: tuple[int, int]
    squeezed: bool


def image_patches(image: ImageLike, config: ImageConfig, model: GenLIPConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """UInt8[N, C*P*P] patches and the grid (rows, columns) of an image. Raises `ImageError` where it cannot be used."""
    return prepare_image(image, config, model)[:2]


def prepare_image(image: ImageLike, config: ImageConfig, model: GenLIPConfig) -> Patches:
    """The patches of an image, sized for a model. Raises `ImageError` where it cannot be used."""
    pixels = decode_pixels(image, config.max_pixels, "RGB" if model.num_channels == 3 else "L")
    height, width = pixels.shape[:2]
    side, squeezed = model.patch_size, config.resize == "native" and is_ribbon(height, width, config.max_patches)
    if config.resize == "fixed":
        if config.size % side:
            raise ValueError(f"images.size {config.size} is no multiple of the model's patch_size {side}")
        height = width = config.size
    else:
        height, width = native_size(height, width, side, config.min_patches, config.max_patches)
    return Patches(patchify(resize(pixels, height, width), side), (height // side, width // side), squeezed)


def decode(image: ImageLike, max_pixels: int = 100_000_000, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """An upright image in 8-bit RGB or grey. Raises `ImageError` with a reason where there is none."""
    return Image.fromarray(decode_pixels(image, max_pixels, mode))


def decode_pixels(image: ImageLike, max_pixels: int = 100_000_000, mode: Literal["RGB", "L"] = "RGB") -> np.ndarray:
    """UInt8[H, W, 3] pixels of an upright image, [H, W] for grey. Raises `ImageError` with a reason where there are none."""
    with opened(image, max_pixels) as (data, pil_image):
        pixels = _jpeg_pixels(data, pil_image, mode)
        return _upright(_pillow_pixels(pil_image, mode) if pixels is None else pixels, pil_image)


@contextmanager
def opened(image: ImageLike, max_pixels: int) -> Iterator[tuple[bytes, Image.Image]]:
    """The bytes of an image's file and its header, read and checked; nothing is decoded yet.

    What goes wrong with the file, also while it is decoded in the block, is raised as `ImageError` with a reason.
    """
    if not isinstance(image, (bytes, str, os.PathLike, Image.Image)):
        raise TypeError(f"an image is a path, bytes or a Pillow image, not {type(image).__name__}")
    try:
        data = _bytes(image)
        pil_image = image if isinstance(image, Image.Image) else _open(data)
        _check_size(image, pil_image, max_pixels)
        yield data, pil_image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not an image", f"{_name(image)}: not an image in a known format") from None
    except Image.DecompressionBombError as error:
        raise ImageError("too large", f"{_name(image)}: {error}") from None
    except _DAMAGE as error:
        raise ImageError("damaged", f"{_name(image)}: damaged image: {error}") from error


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """UInt8 pixels [H, W] or [H, W, C] of another size: bicubic with antialiasing, as Pillow does it."""
    if pixels.shape[:2] == (height, width):
        return pixels
    import torch  # here: ONNX Runtime is fed from this file where there is no PyTorch
    from torch.nn import functional

    if pixels.shape[1] == 1:  # PyTorch without AVX2 garbles a single column; two equal ones are the same image
        pixels = pixels.repeat(2, axis=1)
    # PyTorch takes no steps backwards; NumPy calls them contiguous over a side of one pixel.
    if not (pixels.flags.c_contiguous and pixels.flags.writeable) or min(pixels.strides) < 0:
        pixels = pixels.copy()
    rows, columns = pixels.shape[:2]
    planes = torch.from_numpy(pixels).reshape(rows, columns, -1).permute(2, 0, 1)[None]
    if rows - height > max(0, 2 * (columns - width)):  # Pillow 13's rule: a tall ribbon is not widened at its whole height
        planes = functional.interpolate(planes, (height, columns), mode="bicubic", antialias=True)
    planes = functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)[0]
    return planes.permute(1, 2, 0).reshape(height, width, *pixels.shape[2:]).numpy()


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


def file_suffix(data: bytes) -> str:
    """The usual suffix of an image's format, without a dot, from its first bytes. Raises `ImageError` for any other file."""
    try:
        found = _open(data).format or ""
    except Image.DecompressionBombError as error:
        raise ImageError("too large", f"{len(data)} bytes: {error}") from None
    except (UnidentifiedImageError, *_DAMAGE) as error:
        raise ImageError("not an image", f"{len(data)} bytes: not an image in a known format") from error
    return {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}.get(found, found.lower())


def is_ribbon(height: int, width: int, max_patches: int) -> bool:
    """Is an image so long that even one patch across cannot keep its shape? Then `native_size` squeezes it."""
    return max(height, width) > max_patches * min(height, width)


def patchify(pixels: np.ndarray, patch: int) -> np.ndarray:
    """[H, W, C] or [H, W] -> [H/P * W/P, C*P*P], patches row-major, each with its channels first."""
    height, width, channels = (*pixels.shape, 1)[:3]
    grid = pixels.reshape(height // patch, patch, width // patch, patch, channels)
    return grid.transpose(0, 2, 4, 1, 3).copy().reshape(-1, channels * patch * patch)


def _bytes(image: ImageLike) -> bytes:
    """The bytes of the file; none for an image that Pillow has already opened."""
    if isinstance(image, Image.Image):
        return b""
    return image if isinstance(image, bytes) else read_file(image)


def _open(data: bytes) -> Image.Image:
    """Reads the header; no pixel is decoded yet."""
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def _check_size(image: ImageLike, pil_image: Image.Image, max_pixels: int) -> None:
    if not 0 < pil_image.width * pil_image.height <= max_pixels:
        size = f"{pil_image.width}x{pil_image.height}"
        raise ImageError("too large", f"{_name(image)}: {size} pixels; the limit is {max_pixels} in all (images.max_pixels)")


def _jpeg_pixels(data: bytes, pil_image: Image.Image, mode: str) -> np.ndarray | None:
    """Pixels of a sound JPEG whose colours need no conversion; None leaves the image to Pillow."""
    if data[:2] != b"\xff\xd8" or pil_image.mode not in (mode, "L"):
        return None
    size = (pil_image.height, pil_image.width, 3 if mode == "RGB" else 1)
    try:  # with a buffer of the size that was checked, it can decode nothing larger
        pixels = simplejpeg.decode_jpeg(data, "RGB" if mode == "RGB" else "GRAY", buffer=np.empty(size, np.uint8))
    except ValueError:  # damaged or unusual: Pillow decides, and words the error
        return None
    if pixels.shape != size:
        return None
    return pixels if mode == "RGB" else pixels[..., 0]


def _pillow_pixels(pil_image: Image.Image, mode: str) -> np.ndarray:
    pil_image.load()
    return np.array(_to_mode(pil_image, mode))


def read_file(file: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file of bounded size: a list of images may name anything. Raises `ImageError`."""
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("not an image", f"{path}: not a file")
        with path.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("missing", f"{path}: no such file") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # no permission, a broken disk, a name that no system takes
        raise ImageError("damaged", f"{path}: cannot be read: {error}") from error
    if len(data) > _MAX_BYTES:
        raise ImageError("too large", f"{path}: more than {_MAX_BYTES} bytes")
    return data


def _upright(pixels: np.ndarray, pil_image: Image.Image) -> np.ndarray:
    # ImageOps.exif_transpose also writes the EXIF anew, and fails where any other tag of it is broken.
    try:
        turn = _TURNS.get(pil_image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return pixels  # broken EXIF says nothing about the pixels
    return pixels if turn is None else turn(pixels)


def _to_mode(pil_image: Image.Image, mode: str) -> Image.Image:
    if pil_image.mode.startswith(("I", "F")):
        pil_image = _to_8_bits(pil_image)
    if pil_image.mode == "La":  # which converts to nothing else
        pil_image = pil_image.convert("LA")
    if pil_image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in pil_image.info:
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
