"""Figures: the pictures of manuals with their captions -> shards, split by chapter.

In: HTML manuals of Debian packages (`gimp-help-en`, `gnucash-docs`, `python-sklearn-doc`).
Out: OUT/figures/{train,valid,test}.tar

Two forms are read: DocBook's `<div class="figure">`, whose title says "Figure 17.312. An example", and the plots of
Sphinx-Gallery, whose `alt` text is the title that the plot has. A picture that several figures show has the first caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from characters import plain
from PIL import Image, UnidentifiedImageError
from shards import Captioned, InPart, write_parts

ROOTS = ("usr/share/gimp/2.0/help/en", "usr/share/doc/gnucash-docs/gnucash-guide-en",
         "usr/share/doc/python-sklearn-doc/html/auto_examples")  # fmt: skip
_NUMBER = re.compile(r"^Figure (\d+)\.\d+\.\s*")
_LEAST, MOST_SIDE = 32, 512  # pixels
_MOST_WORDS = 24


class Figures(HTMLParser):
    """Collects (chapter, caption, source of the image) of the figures of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.page, self.found = page, list[tuple[str, str, str]]()
        self._inside, self._title, self._text = 0, False, ""  # open <div>s within a figure; within its title; its text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter a figure or its title, or note an image."""
        values = {name: value or "" for name, value in attrs}
        kinds = values.get("class", "").split()
        if tag == "div" and (self._inside or "figure" in kinds):
            self._text = self._text if self._inside else ""
            self._inside += 1
        elif tag == "p" and self._inside and "title" in kinds:
            self._title = True
        elif tag == "img" and self._inside:
            if number := _NUMBER.match(plain(self._text)):
                caption = plain(self._text)[number.end() :].rstrip(". ")
                self.found.append((f"{self.page.parent.name} {number[1]}", caption, values.get("src", "")))
        elif tag == "img" and "sphx-glr-single-img" in kinds:
            self.found.append((self.page.parent.name, plain(values.get("alt", "")), values.get("src", "")))

    def handle_endtag(self, tag: str) -> None:
        """Leave a title or a figure."""
        if tag == "p":
            self._title = False
        elif tag == "div" and self._inside:
            self._inside -= 1

    def handle_data(self, data: str) -> None:
        """Gather the text of a title."""
        if self._title:
            self._text += data


def write_figures(folders: list[Path], out: Path) -> dict[str, int]:
    """Write the shards that are not there. Returns the number of figures of each part."""
    return write_parts(out / "figures", lambda: _figures(folders))


def _figures(folders: list[Path]) -> Iterator[InPart]:
    seen = set[Path]()
    for root in (folder / root for folder in folders for root in ROOTS):
        for page in sorted(root.rglob("*.html")):
            parser = Figures(page)
            parser.feed(page.read_text("utf8", errors="replace"))
            for chapter, caption, source in parser.found:
                file = (page.parent / source).resolve()
                if file in seen or not 1 < len(caption.split()) <= _MOST_WORDS or (image := opened(file)) is None:
                    continue
                seen.add(file)
                key = f"{chapter}-{file.stem}".replace(" ", "-").replace(".", "_")
                yield InPart(chapter, Captioned(key, image, caption, {"chapter": chapter, "file": file.name}))


def opened(file: Path) -> Image.Image | None:
    """The picture on white, at most `MOST_SIDE` pixels a side; None for a small one, and for what is none."""
    try:
        with Image.open(file) as image:
            drawn = image.convert("RGBA")
    except (OSError, UnidentifiedImageError):
        return None
    if min(drawn.size) < _LEAST:
        return None
    ground = Image.new("RGB", drawn.size, "white")
    ground.paste(drawn, mask=drawn.getchannel("A"))
    ground.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
    return ground
