"""Class colours: label maps as pictures, and the legend of their colours.

In: label maps and names of classes. Out: Pillow images and markup. Colours are those of Paul Tol's "muted" scheme, which
people with any kind of colour vision can distinguish. It has nine, and no scheme has 150: where a set has more classes,
those that fill most of what is shown get one, all others are grey.

Axes: H, W pixels of a label map.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageColor

from genlip.data.datasets.base import IGNORED
from genlip.report.html import escape

__all__ = ["choose_colours", "coloured", "legend"]

_COLOURS = ("#cc6677", "#332288", "#ddcc77", "#117733", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499")
_OTHER, _NONE = "#bbbbbb", "#ffffff"


def choose_colours(classes: int, maps: Sequence[np.ndarray]) -> dict[int, str]:
    """A colour for each of at most nine classes, by label: all of them, or those that fill most of these Int[H W] maps."""
    filled = sum((np.bincount(one[one != IGNORED], minlength=classes) for one in maps), np.zeros(classes, dtype=np.int64))
    chosen = np.argsort(-filled, kind="stable")[: len(_COLOURS)] if classes > len(_COLOURS) else np.arange(classes)
    return dict(zip(sorted(chosen.tolist()), _COLOURS, strict=False))


def coloured(labels: np.ndarray, colours: Mapping[int, str]) -> Image.Image:
    """A label map, Int[H W], as a picture: white where it is ignored, grey where its class has no colour."""
    picture = np.empty((*labels.shape, 3), dtype=np.uint8)
    picture[:] = ImageColor.getrgb(_OTHER)
    for label, colour in {**colours, IGNORED: _NONE}.items():
        picture[labels == label] = ImageColor.getrgb(colour)
    return Image.fromarray(picture)


def legend(names: Mapping[str, str], others: bool) -> str:
    """Names of classes beside their colours; `others` adds an entry for classes that share the grey."""
    known = {**names, **({"other classes": _OTHER} if others else {}), "not counted": _NONE}
    entries = "".join(
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:.8em;height:.8em;margin-right:.4em;'
        f'border:1px solid var(--grey);background:{_checked(colour)}"></span>{escape(name)}</span> '
        for name, colour in known.items()
    )
    return f'<p style="display:flex;flex-wrap:wrap;gap:4px 18px">{entries}</p>'


def _checked(colour: object) -> str:
    """A colour as `choose_colours` gives it: within a style, anything else might be one more rule."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(colour)):
        raise ValueError(f"the colour of a class is {colour!r}: need one as in #cc6677")
    return str(colour)
