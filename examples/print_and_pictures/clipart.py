"""Clip art and electronic parts: SVG files with a title or a description -> shards.

In: Debian's `openclipart-svg` and `fritzing-parts`. Out: OUT/{clipart,parts}/{train,valid,test}.tar

Clip art comes in series of almost equal drawings, so it is split by how it looks: drawings whose perceptual hashes differ in
at most `SAME_BITS` bits are on one side. Stars and gradients are left out. Parts are split by family; a part has two
drawings: as it looks on a breadboard, and its symbol.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import imagehash
import numpy as np
import resvg_py
from characters import plain
from PIL import Image
from shards import Captioned, InPart, write_parts

SAME_BITS = 10
_SIDE, _MOST_WORDS = 192, 24
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_LEFT_OUT = re.compile("gradient|star", re.IGNORECASE)
_NO_TITLE = re.compile("part of|collection|architetto", re.IGNORECASE)  # of authors who gave all drawings one title


def write_clipart(folder: Path, out: Path) -> dict[str, int]:
    """Write the shards of openclipart-svg that are not there. Returns the number of drawings of each part."""
    return write_parts(out / "clipart", lambda: _by_look(_clipart(folder / "usr/share/openclipart/svg")))


def write_circuit_parts(folder: Path, out: Path) -> dict[str, int]:
    """Write the shards of fritzing-parts that are not there. Returns the number of drawings of each part."""
    return write_parts(out / "parts", lambda: _circuit_parts(folder / "usr/share/fritzing/parts"))


def _clipart(root: Path) -> Iterator[Captioned]:
    for file in sorted(root.rglob("*.svg")):
        if _LEFT_OUT.search(str(file.relative_to(root))):
            continue
        caption = _title(file)
        if caption and (image := drawn(file)) is not None:
            key = "-".join(file.relative_to(root).with_suffix("").parts).replace(".", "_")
            yield Captioned(key, image, caption, {"file": str(file.relative_to(root))})


def _title(file: Path) -> str:
    """The first title in the metadata, without the author's words around it; the file's name if there is none."""
    try:
        title = next((one.text or "" for one in ElementTree.parse(file).iter(_TITLE)), "")
    except ElementTree.ParseError:
        return ""
    title = title.rpartition(" - ")[2]
    title = file.stem if not title or _NO_TITLE.search(title) else title
    words = [word for word in re.findall(r"[A-Za-z]+", title.replace("_", " ")) if len(word) > 1]
    return " ".join(words[:_MOST_WORDS]).lower()


def _by_look(samples: Iterator[Captioned]) -> Iterator[InPart]:
    """Each drawing with the key of the first drawing that looks like it, or like one that does."""
    kept = list(samples)
    hashes = [imagehash.phash(one.image.convert("L")).hash.ravel() for one in kept]
    bits = np.array(hashes, np.uint8).reshape(len(kept), -1)
    group = np.arange(len(kept))
    for place, own in enumerate(bits):
        near = np.flatnonzero((bits[:place] != own).sum(1) <= SAME_BITS)
        joined = {int(group[other]) for other in near} | {place}
        group[np.isin(group, list(joined))] = min(joined)
    for place, sample in enumerate(kept):
        yield InPart(kept[group[place]].key, sample)


def _circuit_parts(root: Path) -> Iterator[InPart]:
    for file in sorted(root.rglob("*.fzp")):
        try:
            tree = ElementTree.parse(file).getroot()
        except ElementTree.ParseError:
            continue
        title, description = (plain(tree.findtext(name) or "") for name in ("title", "description"))
        words = f"{title}: {description}".split() if description and description != title else title.split()
        family = next((one.text or "" for one in tree.iter("property") if one.get("name") == "family"), "") or title
        for view in ("breadboardView", "schematicView"):
            layers = tree.find(f"views/{view}/layers")
            if layers is None or not words or "<" in description:
                continue
            place = next(iter(sorted((root / "svg").glob(f"*/{layers.get('image')}"))), None)
            if place is not None and (image := drawn(place)) is not None:
                key = f"{file.stem}-{view.removesuffix('View')}".replace(".", "_")
                caption = " ".join(words[:_MOST_WORDS])
                yield InPart(family.rpartition("//")[2].lower(), Captioned(key, image, caption, {"family": family}))


def drawn(file: Path) -> Image.Image | None:
    """The drawing on white, at most `_SIDE` pixels a side; None if it cannot be drawn, or is empty."""
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_path=str(file), width=_SIDE, background="#ffffff", skip_system_fonts=True))
        image = Image.open(io.BytesIO(png)).convert("RGB")
    except (ValueError, OSError):
        return None
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return image if min(image.size) >= 16 and np.ptp(np.asarray(image)) > 32 else None
