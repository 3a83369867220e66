"""Shards: images with captions -> .tar files that `genlip` and WebDataset read. Each is complete or absent."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image


class Captioned(NamedTuple):
    """An image with its caption, and what else is known of it."""

    key: str
    image: Image.Image
    caption: str
    facts: Mapping[str, Any]


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
