"""Pixel modes: an image that Pillow has opened, of any mode -> upright, in 8-bit RGB or grey.

In: the pixels, the mode and the metadata of an image. Out: 8-bit pixels. Transparency is blended over white. Grey of more
than 8 bits is reduced by its declared depth. Values without a known range are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image

from genlip.data.examples import Unusable

__all__ = ["DAMAGE", "check_depth", "to_mode", "upright"]

# Pillow's decoders raise any of these for damaged files. A MemoryError is not the fault of the file.
DAMAGE = (OSError, RuntimeError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error)
# How pixels [H, W, C] are turned upright, by their EXIF orientation.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def upright(pixels: np.ndarray, pil_image: Image.Image) -> np.ndarray:
    """UInt8[H, W(, C)] pixels of the image, turned by its EXIF orientation."""
    # ImageOps.exif_transpose also rewrites the EXIF data, and fails if any other tag is broken.
    try:
        turn = _TURNS.get(pil_image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGE:
        return pixels  # broken EXIF says nothing about the pixels
    return pixels if turn is None else turn(pixels)


def to_mode(pil_image: Image.Image, mode: str) -> Image.Image:
    """The image in "RGB" or "L". Raises `Unusable` where the range of its values is unknown."""
    if pil_image.mode.startswith(("I", "F")):
        pil_image = _to_8_bits(pil_image)
    if pil_image.mode == "La":  # Pillow converts it to no other mode
        pil_image = pil_image.convert("LA")
    if pil_image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in pil_image.info:
        pil_image = pil_image.convert("RGBA")
        pil_image = Image.alpha_composite(Image.new("RGBA", pil_image.size, "white"), pil_image)
    return pil_image if pil_image.mode == mode else pil_image.convert(mode)


def _to_8_bits(pil_image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, by the depth that its format declares; without one, by its largest value.

    32-bit integers, floats and images that come from no file declare no depth. Fractions must lie within 0 to 1; other
    values count as 8, 12 or 16 bits deep by their largest. Values beyond that have no known range, and are refused.
    """
    values = np.asarray(pil_image)
    if values.dtype.kind == "f":
        return Image.fromarray(_floats(values))
    least, most = int(values.min()), int(values.max())
    _check_range(least, most)
    depth = _grey_depth(pil_image)
    if depth and most >> (depth - 4) == 0:
        raise _nearly_black(depth)
    return Image.fromarray((values >> (depth - 8 if depth else _shift(most))).astype(np.uint8))


_BITS = 258  # TIFF tag BitsPerSample


def _grey_depth(pil_image: Image.Image) -> int | None:
    """The declared bits per value: 12 or 16. None for 32-bit integers and images that come from no file."""
    if pil_image.format == "TIFF" and pil_image.mode.startswith("I;16"):
        return int(pil_image.tag_v2.get(_BITS, (16,))[0])  # type: ignore[attr-defined]
    return 16 if pil_image.format in ("PNG", "PPM") else None  # Pillow scales a PGM of any white to 16 bits


def check_depth(data: bytes, pil_image: Image.Image) -> None:
    """Refuse 16-bit colours that are nearly black: Pillow keeps the high byte, which is almost empty for 12-bit values."""
    if pil_image.format == "PNG":
        deep = data[24:25] == b"\x10"
    else:
        deep = pil_image.format == "TIFF" and set(pil_image.tag_v2.get(_BITS, ())) == {16}  # type: ignore[attr-defined]
    colours = [band for band in pil_image.getbands() if band in "RGBL"]
    if deep and colours and all(np.asarray(pil_image.getchannel(band)).max() < 16 for band in colours):
        raise _nearly_black(16)


def _nearly_black(depth: int) -> Unusable:
    # Either 12-bit values in a 16-bit file, or a very dark picture: there is no way to know which.
    return Unusable("unknown range", f"{depth} bits a channel, of which the highest 4 are never used; save it in 8 bits")


def _floats(values: np.ndarray) -> np.ndarray:
    """Float[H W] -> UInt8[H W]."""
    if strange := int(values.size - np.isfinite(values).sum()):
        raise Unusable("unknown range", f"NaN or infinite at {strange} of {values.size} pixels; replace these values")
    least, most = float(values.min()), float(values.max())
    if least >= 0 and most <= 1:
        return np.rint(values * np.float64(255)).astype(np.uint8)
    # HDR pictures slightly exceed 1: read as bytes, they would be nearly black.
    _check_range(least, most, fractions=most < 16 and bool((values % 1).any()))
    return (values / 2 ** _shift(math.ceil(most))).astype(np.uint8)


def _check_range(least: float, most: float, fractions: bool = False) -> None:
    if least < 0 or most > 65_535 or fractions:
        found = f"values from {least:g} to {most:g}"
        raise Unusable("unknown range", f"{found}: need 0 to 1, or 0 to 255, 4095 or 65535; save it as 8-bit RGB or grey")


def _shift(most: int) -> int:
    """How many low bits are dropped: 0 of 8, 4 of 12, 8 of 16."""
    return 0 if most <= 255 else 4 if most <= 4095 else 8
