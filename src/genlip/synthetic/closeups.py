"""Close-ups: square windows of scenes, of one patch up to the whole scene. The caption starts with the object nearest to the
lower right corner.

In: a seed and an index. Out: an image and its caption; close-up i is a pure function of (seed, i), and shows scene i.
Without a prompt, the last patch predicts the first word of the caption. Here that word depends on where an object is. If
the first word were the same everywhere, patches would only learn what the whole image contains.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from genlip.synthetic import scenes
from genlip.synthetic.random_choices import RandomChoices
from genlip.synthetic.scenes import SIDE, Scene

__all__ = ["NOTHING", "UNIT", "Closeup", "closeup", "describe", "draw", "names"]

UNIT = 16  # sides are multiples of it, in pixels
NOTHING = "nothing"  # the caption where no object is visible enough
_SEEN = 24  # a shape is named if at least so many of its pixels are visible
_SHADES = 2**16  # added to the seed, so that a scene and its window draw different random numbers


class Closeup(NamedTuple):
    """A scene, the window that is shown of it (left, top, right, bottom), and whether the caption names kinds before
    colours."""

    scene: Scene
    window: tuple[int, int, int, int]
    kind_first: bool


def closeup(seed: int, index: int) -> Closeup:
    """Make the random choices of close-up `index`: a square window of 1 to 4 patches a side, anywhere."""
    rng = RandomChoices(seed + _SHADES, index)
    side = UNIT * rng.whole(1, SIDE // UNIT)
    left, top = rng.whole(0, SIDE - side), rng.whole(0, SIDE - side)
    return Closeup(scenes.scene(seed, index), (left, top, left + side, top + side), rng.chance(0.5))


def names(content: Closeup) -> list[str]:
    """The visible objects, nearest to the last patch first: "red circle" or "circle in red". A number must be fully
    visible."""
    left, top, right, bottom = content.window
    found: list[tuple[float, str]] = []
    for words, mask in scenes.objects(content.scene):
        seen = mask[top:bottom, left:right]
        if seen.sum() >= (_SEEN if len(words) > 1 else mask.sum()):
            found.append((_distance(seen), _said(words, content.kind_first)))
    return [said for _, said in sorted(found)]


def describe(content: Closeup) -> str:
    """The caption, such as `circle in red, square in blue`."""
    return ", ".join(names(content)) or NOTHING


def draw(content: Closeup) -> Image.Image:
    """The image, RGB."""
    return scenes.draw(content.scene).crop(content.window)


def _said(words: tuple[str, ...], kind_first: bool) -> str:
    return " in ".join(reversed(words)) if kind_first else " ".join(words)


def _distance(seen: np.ndarray) -> float:
    """Pixels from the centre of the last patch to the nearest pixel of an object; minus its pixels inside that patch, if
    any."""
    if inside := int(seen[-UNIT:, -UNIT:].sum()):
        return -float(inside)
    rows, columns = np.nonzero(seen)
    centre = np.array(seen.shape) - UNIT / 2
    return float(np.hypot(rows - centre[0], columns - centre[1]).min())
