"""Shuffled lines: words of a manual's lines, set beside each other in an order without meaning.

In: the shards of `lines.py` for training. Out: OUT/lines/shuffled/MANUAL.tar, with as many lines. A model that learns the
texts of a few manuals by heart guesses words that it has not seen; of these lines it can only read what is there. Words of a
line are of one font and size, with the space of that font between them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lines import DPI, MARGIN
from PIL import Image
from shards import Captioned, count_samples, write_shard

MOST_WORDS, SPACE = 9, 0.3  # of a line; between two of them, in sizes of the font
_SCALE = DPI / 72


class Word(NamedTuple):
    """The picture of a word, UInt8[H, W] as high as its line with margins above and below, and its text."""

    pixels: np.ndarray
    text: str


def write_shuffled(out: Path) -> Counter[str]:
    """Write the shards that are not there. Returns the number of lines."""
    counts = Counter[str]()
    for shard in sorted((out / "lines" / "train").glob("*.tar")):
        target = out / "lines" / "shuffled" / shard.name
        if not target.is_file():
            write_shard(target, _lines(shard))
        counts["shuffled"] += count_samples(target)
    return counts


def _lines(shard: Path) -> Iterator[Captioned]:
    rng = np.random.default_rng([int.from_bytes(shard.stem.encode()[:8], "big"), 0])
    for (font, size, height), words in sorted(_words(shard).items()):
        for number in range(max(1, len(words) // ((MOST_WORDS + 1) // 2))):
            chosen = [words[place] for place in rng.integers(0, len(words), rng.integers(1, MOST_WORDS + 1))]
            key = f"{font}-{size:.1f}-{height}-{number:05}".replace(".", "_")
            yield Captioned(key, _beside(chosen, size), " ".join(word.text for word in chosen), {"font": font, "size": size})


def _words(shard: Path) -> dict[tuple[str, float, int], list[Word]]:
    """All words by font, size, and height of their line."""
    found: dict[tuple[str, float, int], list[Word]] = defaultdict(list)
    for picture, facts in _stored(shard):
        margin, left = MARGIN * facts["size"], facts["box"][0]
        for text, first, last in facts["words"]:
            ends = (first - left + margin - 0.05 * facts["size"], last - left + margin + 0.05 * facts["size"])
            start, end = (round(value * _SCALE) for value in ends)
            pixels = picture[:, max(0, start) : end]
            if pixels.shape[1]:
                found[facts["font"], round(facts["size"], 1), len(picture)].append(Word(pixels, text))
    return found


def _stored(shard: Path) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    parts: dict[str, bytes] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            opened = archive.extractfile(member)
            parts[member.name.rpartition(".")[2]] = opened.read() if opened else b""
            if member.name.endswith(".json"):
                with Image.open(io.BytesIO(parts["png"])) as image:
                    yield np.asarray(image.convert("L")), json.loads(parts["json"])


def _beside(words: list[Word], size: float) -> Image.Image:
    """Words in a row, with the ground of the first around them."""
    ground = int(np.median(words[0].pixels))
    height, space, margin = len(words[0].pixels), round(SPACE * size * _SCALE), round(MARGIN * size * _SCALE)
    row = np.full((height, 2 * margin + sum(one.pixels.shape[1] + space for one in words) - space), ground, np.uint8)
    left = margin
    for one in words:
        row[:, left : left + one.pixels.shape[1]] = one.pixels
        left += one.pixels.shape[1] + space
    return Image.fromarray(row)
