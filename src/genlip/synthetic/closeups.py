"""Close-ups: square windows of scenes, from one patch to all, whose caption starts with what is nearest the lower right.

In: a seed and an index. Out: an image and its caption; close-up i is a pure function of (seed, i), and shows scene i.
A model without a prompt says its first word at the last patch, so here that word depends on where a thing is: of captions
that tell the same from wherever they start, no patch learns more than what the image holds as a whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from genlip.synthetic import scenes
from genlip.synthetic.random_choices import Lots
from genlip.synthetic.scenes import SIDE, Scene

__all__ = ["NOTHING", "UNIT", "Closeup", "closeup", "describe", "draw", "names"]

UNIT = 16  # sides are multiples of it, in pixels
NOTHING = "nothing"  # the caption where there is too little of any thing
_SEEN = 24  # pixels of a shape from which it is named
_SHADES = 2**16  # of the lots' seeds: scenes and windows of one index must not draw the same


class Closeup(NamedTuple):
    """A scene, the window that is shown of it (left, top, right, bottom), and whether kinds are said before colours."""

    scene: Scene
    window: tuple[int, int, int, int]
    kind_first: bool


def closeup(seed: int, index: int) -> Closeup:
    """Draw the lots of close-up `index`: a square window of 1 to 4 patches a side, anywhere."""
    lots = Lots(seed + _SHADES, index)
    side = UNIT * lots.whole(1, SIDE // UNIT)
    left, top = lots.whole(0, SIDE - side), lots.whole(0, SIDE - side)
    return Closeup(scenes.scene(seed, index), (left, top, left + side, top + side), lots.chance(0.5))


def names(content: Closeup) -> list[str]:
    """What is seen, the nearest to the last patch first: "red circle" or "circle in red", or a number that is all there."""
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
    """From the centre of the last patch to the nearest pixel of a thing; less than 0 the more of that patch it fills."""
    if inside := int(seen[-UNIT:, -UNIT:].sum()):
        return -float(inside)
    rows, columns = np.nonzero(seen)
    centre = np.array(seen.shape) - UNIT / 2
    return float(np.hypot(rows - centre[0], columns - centre[1]).min())
