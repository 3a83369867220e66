"""Print tests: 2,000 lines that training never had -> the same lines in four sizes, clean and damaged.

In: the PDFs, and the shards of `lines.py`. Out: OUT/measured/x{05,08,12,20}-{clean,damaged}.tar; the number is the height of
an x in pixels. Each line is drawn anew from its page at its size. Damage is that of training (`degrade: print`), without
changes of size. Facts of a sample say whether its font is in any line for training (`known_font`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
from lines import MARGIN, manuals
from PIL import Image
from shards import Captioned, count_samples, write_shard

from genlip.synthetic.degradation import DEGRADATIONS, degraded

X_HEIGHTS, NUMBER, SEED = (5, 8, 12, 20), 2000, 1
_DAMAGE = dataclasses.replace(DEGRADATIONS["print"], scale=(1, 1), stretch=1, height=0)


def write_tests(folders: list[Path], out: Path) -> int:
    """Write the shards that are not there. Returns the number of lines in each."""
    shards = {(x, kind): out / "measured" / f"x{x:02}-{kind}.tar" for x in X_HEIGHTS for kind in ("clean", "damaged")}
    if not all(shard.is_file() for shard in shards.values()):
        chosen = _chosen(out)
        pictures = list(_drawn(chosen, manuals(folders)))
        for (x, kind), shard in shards.items():
            write_shard(shard, _samples(pictures, x, kind))
    return count_samples(next(iter(shards.values())))


def _chosen(out: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Text and facts of the lines by key: in an order without meaning, the first that have a letter such as x."""
    fonts = {facts["font"] for _, _, facts in _stored(out / "lines" / "train")}
    found = {
        key: (text, {**facts, "known_font": facts["font"] in fonts})
        for key, text, facts in _stored(out / "lines" / "test")
        if facts["x_height"]
    }
    return {key: found[key] for key in sorted(found, key=lambda key: hashlib.sha256(key.encode()).digest())[:NUMBER]}


def _stored(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Key, text and facts of all lines in the shards of a folder."""
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            text = ""
            for member in archive:
                opened = archive.extractfile(member)
                if member.name.endswith(".txt") and opened:
                    text = opened.read().decode("utf8")
                elif member.name.endswith(".json") and opened:
                    yield f"{shard.stem}/{member.name.removesuffix('.json')}", text, json.loads(opened.read())


def _drawn(
    chosen: dict[str, tuple[str, dict[str, Any]]], found: dict[str, list[Path]]
) -> Iterator[tuple[str, str, dict[str, Any], dict[int, Image.Image]]]:
    """Each line with its pictures by height of an x."""
    by_file = defaultdict(list)
    for key, (text, facts) in chosen.items():
        which = int(key.partition("/")[2][:2])
        by_file[found[facts["manual"]][which]].append((key, text, facts))
    for file, lines in sorted(by_file.items()):
        document = pypdfium2.PdfDocument(file)
        for key, text, facts in lines:
            page = document[facts["page"]]
            yield key, text, facts, {x: _picture(page, facts, x) for x in X_HEIGHTS}
        document.close()


def _picture(page: pypdfium2.PdfPage, facts: dict[str, Any], x: int) -> Image.Image:
    (left, top, right, bottom), margin = facts["box"], MARGIN * facts["size"]
    width, height = page.get_size()
    sides = (left - margin, height - bottom - margin, width - right - margin, top - margin)
    around = tuple(max(0.0, side) for side in sides)  # what is cut off: left, bottom, right, top
    return page.render(scale=x / facts["x_height"], grayscale=True, crop=around).to_pil().convert("L")


def _samples(
    pictures: list[tuple[str, str, dict[str, Any], dict[int, Image.Image]]], x: int, kind: str
) -> Iterator[Captioned]:
    for number, (key, text, facts, by_height) in enumerate(pictures):
        image = by_height[x]
        if kind == "damaged":
            image = Image.fromarray(degraded(np.asarray(image.convert("RGB")), _DAMAGE, SEED, number))
        kept = {name: facts[name] for name in ("manual", "font", "known_font", "x_height")}
        yield Captioned(key.replace("/", "-"), image, text, kept)
