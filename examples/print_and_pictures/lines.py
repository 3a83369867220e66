"""Lines: the print of all manuals -> shards of single lines, apart for training, for choosing settings, and for testing.

In: PDFs of Debian packages. Out: OUT/lines/{train,valid,test}/MANUAL.tar, and OUT/lines/words/MANUAL.tar with one
to three words of each line for training.

A manual and its translations lie in one folder, and all of a folder is on one side of the split. A line that training holds
is left out of the other two, whatever manual it is from. In training a text is kept three times at most, such as a page's
header. The pictures are as the page has them, at 150 dots per inch; sizes and damage are added when they are read.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pages import Line, pages_of
from PIL import Image
from shards import Captioned, Part, part_of, write_shard

Box = tuple[float, float, float, float]
DPI, MARGIN = 150, 0.3  # around a line, in sizes of its font
MOST_REPEATS, MOST_LINES = 3, 6000  # of a text in training; of a manual


def manuals(folders: list[Path]) -> dict[str, list[Path]]:
    """The PDFs by the name of their manual: the folder in which they lie."""
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for file in sorted(folder.rglob("*.pdf")):
            found[file.parent.name].append(file)
    return dict(sorted(found.items()))


def write_lines(folders: list[Path], out: Path) -> Counter[str]:
    """Write a shard for each manual; those that are there are kept. Returns the number of lines of each part."""
    found, counts, known = manuals(folders), Counter[str](), Counter[str]()
    for name in sorted(found, key=lambda one: (part_of(one) != "train", one)):  # training first: the others leave it out
        part = part_of(name)
        shard, texts = out / part / f"{name}.tar", out / part / f"{name}.json"
        if not texts.is_file():
            kept: list[str] = []
            some_words: list[Captioned] = []
            write_shard(shard, _lines(name, found[name], part, known.copy(), kept, some_words))
            if some_words:
                write_shard(out / "words" / f"{name}.tar", some_words)
            texts.write_text(json.dumps(kept, ensure_ascii=False), "utf8")
        written = json.loads(texts.read_text("utf8"))
        if part == "train":
            known.update(written)
        counts[part] += len(written)
        if not written:
            shard.unlink(missing_ok=True)
        print(f"{name}: {len(written)} lines for {part}", flush=True)
    return counts


def _lines(
    name: str, files: list[Path], part: Part, known: Counter[str], kept: list[str], some_words: list[Captioned]
) -> Iterator[Captioned]:
    for which, file in enumerate(files):  # in different folders of one name, files may have one name too
        for number, (picture, lines) in enumerate(pages_of(file, DPI)):
            for place, line in enumerate(lines):
                most = MOST_REPEATS if part == "train" else 1
                if known[line.text] >= most or len(kept) >= MOST_LINES:
                    continue
                known[line.text] += 1
                kept.append(line.text)
                facts = {"manual": name, "file": file.name, "page": number, "font": line.font, "size": round(line.size, 2)}
                facts |= {"x_height": round(line.x_height, 2), "box": [round(side, 2) for side in line.box]}
                facts |= {"words": [[word, round(left, 2), round(right, 2)] for word, left, right in line.words]}
                key = f"{which:02}-{file.stem}-{number:04}-{place:03}".replace(".", "_")
                yield Captioned(key, cropped(picture, line.box, line.size, DPI), line.text, facts)
                if part == "train" and (short := _some_words(line, key)):
                    text, box = short
                    some_words.append(Captioned(key, cropped(picture, box, line.size, DPI), text, {"manual": name}))


def _some_words(line: Line, key: str) -> tuple[str, Box] | None:
    """Text and box of one to three words within a line, chosen by its key; None for a line that has no more."""
    first, number, *_ = hashlib.sha256(key.encode()).digest()
    number = 1 + number % 3
    if len(line.words) <= number:
        return None
    first %= len(line.words) - number + 1
    chosen = line.words[first : first + number]
    text = " ".join(word for word, _, _ in chosen)
    return (text, (chosen[0][1], line.box[1], chosen[-1][2], line.box[3])) if len(text) > 1 else None


def cropped(picture: np.ndarray, box: Box, size: float, dpi: int) -> Image.Image:
    """The picture of a box with a margin for a font of this size; UInt8[H, W] is that of its page."""
    margin, scale = MARGIN * size, dpi / 72
    left, top, right, bottom = (
        round(value * scale) for value in (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
    )
    return Image.fromarray(picture[max(0, top) : bottom, max(0, left) : right])
