"""Patch pictures: values or words of patches, drawn on the image or beside it.

In: an image, its grid, and a value or words per patch. Out: Pillow images, twice as wide as a page shows them, so that lines
and letters are sharp on every screen. Patches are drawn on the original image, although the model may have resized it.

Axes: r rows, c columns of patches; p = r * c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from genlip.report.patch_words import common_token
from genlip.speaker import PatchWords
from genlip.synthetic.fonts import font

__all__ = ["confident_patches", "confident_picture", "crop", "enlarged", "heat", "outlined", "patch_box", "patch_map"]

Box = tuple[float, float, float, float]  # left, top, right, bottom

_SIDE = 960  # pixels of a picture's longer side
_ORANGE, _DARK, _WHITE = (224, 120, 32), (20, 22, 28), (255, 255, 255)
_FONT, _LETTERS = "DejaVuSans-Bold", 28  # pixels


def confident_patches(said: PatchWords, number: int) -> list[int]:
    """The patches with the highest probability of their likeliest token, the highest first.

    Patches with the most common token come last: a token that is likeliest at most patches says little about one patch.
    """
    common, _ = common_token(said)
    likeliest = [words[0] for words in said.words]
    order = sorted(range(len(likeliest)), key=lambda i: (likeliest[i][0] == common, -likeliest[i][1]))
    return order[:number]


def confident_picture(image: Image.Image, said: PatchWords, number: int = 8) -> Image.Image:
    """The image with its `confident_patches` outlined, at most a quarter of all, with likeliest tokens and probabilities."""
    chosen = confident_patches(said, min(number, math.ceil(len(said.words) / 4)))
    picture = outlined(enlarged(image, _SIDE), chosen, said.grid)
    pen, taken = ImageDraw.Draw(picture), list[Box]()
    for patch in chosen:  # after the outlines, so that labels cover them
        token, chance = said.words[patch][0]
        _label(pen, f"{token.strip() or '␣'} {chance:.0%}", patch_box(patch, said.grid, picture.size), picture.size, taken)
    return picture


def enlarged(image: Image.Image, side: int) -> Image.Image:
    """The image with a longer side of `side` pixels; small images are enlarged without blur."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)


def patch_box(patch: int, grid: tuple[int, int], size: tuple[int, int], margin: int = 0) -> Box:
    """The box of a patch, in row-major order, on an image of (width, height) pixels, with `margin` patches on each side."""
    wide, high = size[0] / grid[1], size[1] / grid[0]
    place, column = divmod(patch, grid[1])
    return (
        (column - margin) * wide,
        (place - margin) * high,
        (column + 1 + margin) * wide,
        (place + 1 + margin) * high,
    )


def patch_map(colours: np.ndarray, grid: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """UInt8[p 3] colours as an image of (width, height) pixels, each patch in one colour."""
    return Image.fromarray(colours.reshape(*grid, 3)).resize(size, Image.Resampling.NEAREST)


def heat(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Float[p] -> UInt8[p 3]: dark for `low` and below, bright for `high` and above."""
    place = (np.asarray(values, dtype=np.float64) - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return colormaps["viridis"](place.clip(0, 1), bytes=True)[:, :3]


def crop(image: Image.Image, patch: int, grid: tuple[int, int], side: int = 240) -> Image.Image:
    """An outlined patch and its eight neighbours, as a square; grey outside the image."""
    left, top, right, bottom = patch_box(patch, grid, image.size, margin=1)
    x, y = side / (right - left), side / (bottom - top)
    inside = (max(0.0, left), max(0.0, top), min(float(image.width), right), min(float(image.height), bottom))
    size = (max(1, round((inside[2] - inside[0]) * x)), max(1, round((inside[3] - inside[1]) * y)))
    method = Image.Resampling.NEAREST if min(x, y) > 2 else Image.Resampling.LANCZOS
    cut = Image.new("RGB", (side, side), (128, 128, 128))
    corner = (round((inside[0] - left) * x), round((inside[1] - top) * y))
    cut.paste(image.convert("RGB").resize(size, method, inside), corner)
    _outline(ImageDraw.Draw(cut), (side / 3, side / 3, 2 * side / 3, 2 * side / 3))
    return cut


def outlined(image: Image.Image, patches: Sequence[int], grid: tuple[int, int]) -> Image.Image:
    """The image with a line around some patches."""
    picture = image.copy()
    for patch in patches:
        _outline(ImageDraw.Draw(picture), patch_box(patch, grid, picture.size))
    return picture


def _outline(pen: ImageDraw.ImageDraw, box: Box) -> None:
    """An outline in two colours, visible on any background."""
    left, top, right, bottom = box
    pen.rectangle((left, top, right - 1, bottom - 1), outline=_DARK, width=8)
    pen.rectangle((left + 2, top + 2, right - 3, bottom - 3), outline=_ORANGE, width=4)


def _label(pen: ImageDraw.ImageDraw, text: str, box: Box, size: tuple[int, int], taken: list[Box]) -> None:
    """Draw a text at a patch, without covering another label if possible, and add its box to `taken`."""
    letters = font(_FONT, _LETTERS)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=letters)
    wide, high = right - left + 12, bottom - top + 12
    places = [_within(x, y, wide, high, size) for x, y in _corners(box, wide, high)]
    place = next((one for one in places if not any(_overlap(one, other) for other in taken)), places[0])
    taken.append(place)
    pen.rounded_rectangle(place, radius=6, fill=_DARK)
    pen.text((place[0] + 6 - left, place[1] + 6 - top), text, fill=_WHITE, font=letters)


def _corners(box: Box, wide: float, high: float) -> list[tuple[float, float]]:
    """Positions of a label, best first: inside the patch (bottom, top, middle), then below, above, right and left of it."""
    left, top, right, bottom = box
    middle = (left + right - wide) / 2
    inside = [(middle, bottom - high - 8), (middle, top + 8), (middle, (top + bottom - high) / 2)]
    beside = [(right + 2, (top + bottom - high) / 2), (left - wide - 2, (top + bottom - high) / 2)]
    return [*inside, (middle, bottom + 2), (middle, top - high - 2), *beside]


def _within(x: float, y: float, wide: float, high: float, size: tuple[int, int]) -> Box:
    """The box, moved into the picture."""
    x, y = max(0.0, min(x, size[0] - wide - 1)), max(0.0, min(y, size[1] - high - 1))
    return x, y, x + wide, y + high


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
