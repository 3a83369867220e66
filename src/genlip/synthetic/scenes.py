"""Scenes: small images of coloured shapes and a number, with a caption that states all of it.

In: a seed and an index. Out: a 64x64 image and its caption; scene i is a pure function of (seed, i).
Each scene holds one or two shapes (kind, colour, size and side vary, all jittered) above a two-digit number in one of
several fonts and sizes, on a tinted background. `label_map` gives the class of each pixel, `objects` a mask of each object.
The mask of a number is the bounding box of its digits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from genlip.synthetic.fonts import font as open_font
from genlip.synthetic.page import RGB

__all__ = [
    "COLOURS", "KINDS", "REGIONS", "SIDE", "SIDES", "SIZES", "Scene", "SceneObject", "Shape", "describe", "draw",
    "label_map", "objects", "scene",
]  # fmt: skip

SIDE = 64
KINDS = ("circle", "square", "triangle")
REGIONS = ("background", *KINDS, "number")  # classes of pixels, in the order of their labels
SIZES = {"small": 7.0, "large": 11.0}  # half the width, in pixels
SIDES = {"left": 17.0, "right": 47.0}  # centre, in pixels
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 150, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 30),
    "orange": (240, 135, 30),
    "purple": (145, 60, 170),
    "black": (35, 35, 35),
}
# Fonts that matplotlib ships, under free licences.
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
FONT_SIZES = (14, 17, 20)


class Shape(NamedTuple):
    """One shape, in the words of the caption, and where it is drawn."""

    size: str
    colour: str
    kind: str
    side: str
    centre: tuple[float, float]
    radius: float
    paint: RGB


class Scene(NamedTuple):
    """What a scene holds, before it is drawn."""

    shapes: tuple[Shape, ...]
    number: int
    font: str
    font_size: int
    number_at: tuple[float, float]  # centre, in pixels
    ink: RGB
    background: RGB


class SceneObject(NamedTuple):
    """A shape or the number: the words that name it, such as ("red", "circle") or ("47",), and Bool[64, 64] of its
    pixels."""

    words: tuple[str, ...]
    mask: np.ndarray


def scene(seed: int, index: int) -> Scene:
    """Make the random choices of scene `index`."""
    rng = np.random.default_rng((seed, index))
    sides = [("left",), ("right",), ("left", "right"), ("left", "right")][rng.integers(4)]
    return Scene(
        shapes=tuple(_shape(rng, side) for side in sides),
        number=int(rng.integers(10, 100)),
        font=FONTS[rng.integers(len(FONTS))],
        font_size=FONT_SIZES[rng.integers(len(FONT_SIZES))],
        number_at=(SIDE / 2 + rng.uniform(-8, 8), 49.5 + rng.uniform(-3, 3)),
        ink=_rgb(rng.integers(0, 110, 3)),
        background=_rgb(rng.integers(200, 256, 3)),
    )


def describe(content: Scene) -> str:
    """The caption, e.g. `a small red circle on the left, a large blue square on the right and the number 47`."""
    shapes = [f"a {s.size} {s.colour} {s.kind} on the {s.side}" for s in content.shapes]
    return f"{', '.join(shapes)} and the number {content.number}"


def draw(content: Scene) -> Image.Image:
    """The image, RGB, 64x64."""
    image = Image.new("RGB", (SIDE, SIDE), content.background)
    pen = ImageDraw.Draw(image)
    for shape in content.shapes:
        _draw_shape(pen, shape, shape.paint)
    _draw_number(pen, content, content.ink)
    return image


def label_map(content: Scene) -> np.ndarray:
    """Int16[64, 64], the class of each pixel as a place in `REGIONS`."""
    names = ("background", *(shape.kind for shape in content.shapes), "number")
    labels = np.array([REGIONS.index(name) for name in names], dtype=np.int16)
    return labels[_object_map(content)]


def objects(content: Scene) -> list[SceneObject]:
    """The shapes in the order of the caption, then the number, each with the pixels where it can be seen."""
    words = [*((shape.colour, shape.kind) for shape in content.shapes), (str(content.number),)]
    found = _object_map(content)
    return [SceneObject(some, found == place) for place, some in enumerate(words, start=1)]


def _object_map(content: Scene) -> np.ndarray:
    """UInt8[64, 64], the place of the object at each pixel, from 1; 0 is background. Later objects cover earlier ones."""
    image, digits = (Image.new("L", (SIDE, SIDE)) for _ in range(2))
    pen = ImageDraw.Draw(image)
    for place, shape in enumerate(content.shapes, start=1):
        _draw_shape(pen, shape, place)
    _draw_number(ImageDraw.Draw(digits), content, 255)
    if box := digits.getbbox():
        image.paste(len(content.shapes) + 1, box)
    return np.array(image)


def _shape(rng: np.random.Generator, side: str) -> Shape:
    size, colour = tuple(SIZES)[rng.integers(2)], tuple(COLOURS)[rng.integers(7)]
    return Shape(
        size=size,
        colour=colour,
        kind=KINDS[rng.integers(3)],
        side=side,
        centre=(SIDES[side] + rng.uniform(-4, 4), 18 + rng.uniform(-4, 4)),
        radius=SIZES[size] + rng.uniform(-1, 1),
        paint=_rgb((np.array(COLOURS[colour]) + rng.integers(-15, 16, 3)).clip(0, 255)),
    )


def _draw_shape(pen: ImageDraw.ImageDraw, shape: Shape, paint: RGB | int) -> None:
    (x, y), r = shape.centre, shape.radius
    if shape.kind == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=paint)
    elif shape.kind == "square":
        pen.rectangle((x - r * 0.9, y - r * 0.9, x + r * 0.9, y + r * 0.9), fill=paint)
    else:
        pen.polygon(((x, y - r), (x + r, y + r * 0.85), (x - r, y + r * 0.85)), fill=paint)


def _draw_number(pen: ImageDraw.ImageDraw, content: Scene, ink: RGB | int) -> None:
    font, text = open_font(content.font, content.font_size), str(content.number)
    left, top, right, bottom = font.getbbox(text)
    x, y = content.number_at
    pen.text((x - (left + right) / 2, y - (top + bottom) / 2), text, fill=ink, font=font)


def _rgb(values: np.ndarray) -> RGB:
    red, green, blue = (int(v) for v in values)
    return red, green, blue
