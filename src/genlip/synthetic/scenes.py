"""Scenes: small images of coloured shapes and a number, with a caption that states all of it.

In: a seed and an index. Out: a 64x64 image, its caption, and questions with answers. Scene i is a pure function of
(seed, i).
Each scene holds one or two shapes (kind, colour, size and side vary, all jittered) above a two-digit number in one of
several fonts and sizes, on a tinted background. `label_map` gives the class of each pixel, `objects` a mask of each object.
The mask of a number is the bounding box of its digits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from genlip.synthetic.fonts import font as open_font
from genlip.synthetic.page import RGB
from genlip.synthetic.random_choices import RandomChoices

__all__ = [
    "COLOURS", "KINDS", "REGIONS", "SIDE", "SIDES", "SIZES", "Scene", "SceneObject", "Shape", "describe", "draw",
    "label_map", "objects", "questions", "scene",
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
_ASKING = 2**17  # added to the seed, so that a scene and its questions draw different random numbers


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
    """What a scene holds, before it is drawn. Its questions are drawn from `origin`, its seed and index."""

    shapes: tuple[Shape, ...]
    number: int
    font: str
    font_size: int
    number_at: tuple[float, float]  # centre, in pixels
    ink: RGB
    background: RGB
    origin: tuple[int, int] = (0, 0)


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
        origin=(seed, index),
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


# -- questions


class _Asked(NamedTuple):
    """A question and its answer; the facts that the answer states, and those that are known after both.

    Facts are the count, kinds, colours, sizes and places of shapes.
    """

    question: str
    answer: str
    asks: frozenset[str]
    tells: frozenset[str]


def questions(content: Scene) -> tuple[tuple[str, str], ...]:
    """Two or three questions and their short answers, in an order in which none is answered by an earlier one.

    One or two are about shapes, one about the number. Each possible answer to a question is about as frequent as the others,
    so that little can be guessed without the image.
    """
    seed, index = content.origin
    rng = RandomChoices(seed + _ASKING, index)
    asked = list[_Asked]()
    for make in rng.some(_ABOUT_SHAPES, len(_ABOUT_SHAPES)):
        one = make(rng, content)
        if one and len(asked) < 2 and not any(one.asks & before.tells for before in asked):
            asked.append(one)
    pairs = [(one.question, one.answer) for one in asked]
    pairs.insert(rng.whole(0, len(pairs)), _about_number(rng, content.number))
    return tuple(pairs)


def _asked(question: str, answer: str, asks: str, tells: str = "") -> _Asked:
    return _Asked(question, answer, frozenset(asks.split()), frozenset((asks + " " + tells).split()))


def _about_number(rng: RandomChoices, number: int) -> tuple[str, str]:
    return rng.one(
        (
            ("What is the number?", str(number)),
            ("What is the number?", str(number)),
            ("What is the first digit of the number?", str(number // 10)),
            ("What is the last digit of the number?", str(number % 10)),
            ("Is the number even or odd?", "odd" if number % 2 else "even"),
            ("Is the number less than 55?", "yes" if number < 55 else "no"),  # half of 10 to 99 are
        )
    )


def _how_many(rng: RandomChoices, content: Scene) -> _Asked:
    return _asked("How many shapes are there?", str(len(content.shapes)), "count")


def _how_many_of_a_colour(rng: RandomChoices, content: Scene) -> _Asked:
    times = Counter(shape.colour for shape in content.shapes)
    answer = rng.one(sorted({0, *times.values()}))
    colour = rng.one([colour for colour in COLOURS if times[colour] == answer])
    return _asked(f"How many shapes are {colour}?", str(answer), "colours", "count")


def _is_there(rng: RandomChoices, content: Scene) -> _Asked:
    """A shape of the scene, or one that differs from it in its colour or its kind alone."""
    there = [(shape.colour, shape.kind) for shape in content.shapes]
    named, answer = rng.one(there), "yes"
    if rng.chance(0.5):
        others = [*((colour, named[1]) for colour in COLOURS), *((named[0], kind) for kind in KINDS)]
        named, answer = rng.one([one for one in others if one not in there]), "no"
    return _asked(f"Is there {_a(' '.join(named))}?", answer, "colours kinds")


def _which_on_a_side(rng: RandomChoices, content: Scene) -> _Asked:
    side = rng.one(tuple(SIDES))
    answer = next((shape.kind for shape in content.shapes if shape.side == side), "none")
    return _asked(f"Which shape is on the {side}?", answer, "kinds places count")


def _colour_of_a_kind(rng: RandomChoices, content: Scene) -> _Asked | None:
    shape = rng.one(content.shapes)
    if sum(shape.kind == other.kind for other in content.shapes) > 1:
        return None
    return _asked(f"What colour is the {shape.kind}?", shape.colour, "colours", "kinds")


def _colour_on_a_side(rng: RandomChoices, content: Scene) -> _Asked:
    shape = rng.one(content.shapes)
    return _asked(f"What colour is the shape on the {shape.side}?", shape.colour, "colours", "places")


def _size(rng: RandomChoices, content: Scene) -> _Asked | None:
    shape = _one_by_name(rng, content)
    if shape is None:
        return None
    return _asked(f"Is the {shape.colour} {shape.kind} small or large?", shape.size, "sizes", "colours kinds")


def _place(rng: RandomChoices, content: Scene) -> _Asked | None:
    shape = _one_by_name(rng, content)
    if shape is None:
        return None
    return _asked(f"Is the {shape.colour} {shape.kind} on the left or on the right?", shape.side, "places", "colours kinds")


def _what_beside(rng: RandomChoices, content: Scene) -> _Asked | None:
    """What is on a side of a shape; where there is nothing, it is asked a third as often."""
    shape = _one_by_name(rng, content)
    if shape is None or len(content.shapes) < 2:
        return None
    (other,) = (one for one in content.shapes if one is not shape)
    side, answer = other.side, f"{other.colour} {other.kind}"
    if rng.chance(0.25):
        side, answer = shape.side, "nothing"
    return _asked(f"What is {side} of the {shape.colour} {shape.kind}?", answer, "places colours kinds count")


def _which_is_larger(rng: RandomChoices, content: Scene) -> _Asked | None:
    if len({shape.size for shape in content.shapes}) < 2:
        return None
    (answer,) = (shape.side for shape in content.shapes if shape.size == "large")
    return _asked("Which shape is larger, the left or the right one?", answer, "sizes", "count places")


def _one_by_name(rng: RandomChoices, content: Scene) -> Shape | None:
    """A shape that its colour and kind name; None if two have the same."""
    shape = rng.one(content.shapes)
    same = [other for other in content.shapes if (other.colour, other.kind) == (shape.colour, shape.kind)]
    return shape if len(same) == 1 else None


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


_ABOUT_SHAPES: tuple[Callable[[RandomChoices, Scene], _Asked | None], ...] = (
    _how_many, _how_many_of_a_colour, _is_there, _which_on_a_side, _colour_of_a_kind, _colour_on_a_side, _size, _place,
    _what_beside, _what_beside, _which_is_larger,  # twice: it can be asked of few scenes
)  # fmt: skip
