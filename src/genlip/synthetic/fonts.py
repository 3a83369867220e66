"""Fonts: finds and opens them once, and measures text.

In: the stem of a font's file and a size in pixels. Out: a Pillow font, a width, the rows a line needs.
matplotlib ships its fonts on every machine, so pages use only these, unless `system_fonts` is set.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

__all__ = ["PLAIN", "SHIPPED", "SYSTEM", "Family", "families", "font", "reach", "width"]

SYSTEM_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "~/.local/share/fonts")
# Pillow's own layout: the other one, Raqm, needs a library that some machines lack, and moves letters.
PLAIN = ImageFont.Layout.BASIC


class Family(NamedTuple):
    """The stems of the files of one family, and its smallest size, in pixels, that is easy to read."""

    name: str
    regular: str
    bold: str
    italic: str
    smallest: int = 10


def _family(name: str, regular: str, bold: str, italic: str, smallest: int = 10) -> Family:
    stem = name.replace(" ", "")
    return Family(name, f"{stem}{regular}", f"{stem}{bold}", f"{stem}{italic}", smallest)


SHIPPED = (
    _family("DejaVu Sans", "", "-Bold", "-Oblique"),
    _family("DejaVu Serif", "", "-Bold", "-Italic"),
    _family("DejaVu Sans Mono", "", "-Bold", "-Oblique"),
    _family("STIX General", "", "Bol", "Italic", 12),
    Family("Computer Modern", "cmr10", "cmb10", "cmti10", 12),
)
SYSTEM = (
    _family("DejaVu Sans Condensed", "", "-Bold", "-Oblique"),
    _family("DejaVu Serif Condensed", "", "-Bold", "-Italic"),
    *(
        _family(name, "-Regular", "-Bold", "-Italic", 11)
        for name in (
            "Liberation Sans",
            "Liberation Sans Narrow",
            "Liberation Serif",
            "Liberation Mono",
            "Noto Sans",
            "Noto Serif",
        )
    ),
)


@cache
def families(system_fonts: bool = False) -> tuple[Family, ...]:
    """The families to choose from.

    `system_fonts` adds those of `SYSTEM` that are installed. A choice then depends on the machine: sample i is the same on
    every machine only without them.
    """
    installed = tuple(family for family in SYSTEM if all(stem in _installed() for stem in family[1:4]))
    return SHIPPED + installed if system_fonts else SHIPPED


@cache
def font(name: str, size: int, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
    """The font in file `name`.ttf at `size` pixels; `layout` as Pillow chooses unless named."""
    return ImageFont.truetype(str(_path(name)), size, layout_engine=layout)


@cache
def reach(name: str, size: int) -> tuple[int, int]:
    """Rows that English text takes above its baseline, and below it."""
    _, top, _, bottom = font(name, size, PLAIN).getbbox("Albdfhk6|($Qgjpqy,;", anchor="ls")
    return -math.floor(top), math.ceil(bottom)


def width(text: str, name: str, size: int) -> int:
    """Width of `text` in pixels, rounded up for each word."""
    words = text.split(" ")
    return sum(_word_width(word, name, size) for word in words) + (len(words) - 1) * _word_width(" ", name, size)


@lru_cache(maxsize=1 << 16)
def _word_width(word: str, name: str, size: int) -> int:
    return math.ceil(font(name, size, PLAIN).getlength(word))


def _path(name: str) -> Path:
    spec = find_spec("matplotlib")  # its folder of fonts, without the cost of importing it
    if spec is None or spec.origin is None:
        raise ImportError("synthetic images need the fonts that matplotlib ships: pip install matplotlib")
    shipped = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    if shipped.is_file():
        return shipped
    if name not in _installed():
        raise FileNotFoundError(
            f"no font {name}.ttf: matplotlib does not ship it, and it is not in {', '.join(SYSTEM_FOLDERS)}; "
            "install it, or draw pages with system_fonts=False"
        )
    return _installed()[name]


@cache
def _installed() -> dict[str, Path]:
    """Files of `SYSTEM` by their stem."""
    wanted = {stem for family in SYSTEM for stem in family[1:4]}
    found = (path for folder in SYSTEM_FOLDERS for path in sorted(Path(folder).expanduser().rglob("*.ttf")))
    return {path.stem: path for path in found if path.stem in wanted}
