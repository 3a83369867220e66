"""Shards: images with captions -> .tar files that `genlip` and WebDataset read. Each is complete or absent."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


def part_of(name: str) -> Part:
    """The side of the split on which everything of this name lies: 4 % for choosing, 12 % for testing."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "valid" if place < 0.04 else "test" if place < 0.16 else "train"


class Captioned(NamedTuple):
    """An image with its caption, and what else is known of it."""

    key: str
    image: Image.Image
    caption: str
    facts: Mapping[str, Any]


class InPart(NamedTuple):
    """A sample, and the name whose samples are all on one side of the split."""

    split_by: str
    sample: Captioned


def write_parts(folder: Path, samples: Callable[[], Iterable[InPart]]) -> dict[str, int]:
    """Write FOLDER/{train,valid,test}.tar unless they are there. Returns the number of samples of each."""
    shards = {part: folder / f"{part}.tar" for part in PARTS}
    if not all(shard.is_file() for shard in shards.values()):
        made = list(samples())
        for part, shard in shards.items():
            write_shard(shard, (one.sample for one in made if part_of(one.split_by) == part))
    return {part: count_samples(shard) for part, shard in shards.items()}


def count_samples(shard: Path) -> int:
    """The number of samples of a .tar."""
    with tarfile.open(shard) as archive:
        return sum(name.endswith(".txt") for name in archive.getnames())


def write_shard(path: Path, samples: Iterable[Captioned]) -> int:
    """Write a .tar of images (.png), captions (.txt) and facts (.json). Returns the number of samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, number = path.with_name(f".{path.name}.part"), 0
    with tarfile.open(part, "w") as archive:
        for key, image, caption, facts in samples:
            number += 1
            png = io.BytesIO()
            image.save(png, "PNG")
            texts = {"txt": caption, "json": json.dumps(facts, ensure_ascii=False)}
            for suffix, data in {"png": png.getvalue(), **{k: v.encode("utf8") for k, v in texts.items()}}.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    part.replace(path)
    return number
