"""Sources: captioned images with random access by index.

In: a folder, a CSV or JSONL file, or the name of a procedural set. Out: a `Source`, whose example i has a key that names it
in messages, an image that is not decoded yet, and a caption.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from genlip.data.images import IMAGE_SUFFIXES, ImageLike
from genlip.data.synthetic import scenes

__all__ = ["Example", "Files", "Scenes", "Source", "Subset", "open_source"]

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
CAPTION_COLUMNS = ("caption", "text", "description", "title")


class Example(NamedTuple):
    """One captioned image. `image` is a path, encoded bytes or a Pillow image."""

    key: str
    image: ImageLike
    caption: str


class Source(Protocol):
    """Captioned images with a length and random access; the same index always gives the same example."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...

    def caption(self, index: int, /) -> str:
        """The caption alone, without touching the image."""
        ...


@dataclass(frozen=True)
class Files:
    """Image files with their captions."""

    paths: Sequence[Path]
    captions: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return Example(str(self.paths[index]), self.paths[index], self.captions[index])

    def caption(self, index: int) -> str:
        """The caption alone."""
        return self.captions[index]


@dataclass(frozen=True)
class Scenes:
    """Procedural scenes; see `genlip.data.synthetic.scenes`."""

    seed: int = 0
    length: int = 1_000_000

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:  # also what ends a `for` over the scenes
            raise IndexError(f"scene {index} of {self.length}")
        content = scenes.scene(self.seed, index)
        return Example(f"scene {self.seed}:{index}", scenes.draw(content), scenes.describe(content))

    def caption(self, index: int) -> str:
        """The caption alone."""
        return scenes.describe(scenes.scene(self.seed, index))


@dataclass(frozen=True)
class Subset:
    """Some examples of a source, in an order of their own."""

    source: Source
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def caption(self, index: int) -> str:
        """The caption alone."""
        return self.source.caption(int(self.indices[index]))


def open_source(spec: str) -> Source:
    """Open a source by what the user wrote.

    "scenes" or "scenes:SEED"   procedural scenes
    a folder                    images, each beside a .txt of the same name with its caption
    a .csv, .tsv or .jsonl      rows with a path (relative to the file) and a caption

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    if spec == "scenes" or spec.startswith("scenes:"):
        seed = spec.partition(":")[2] or "0"
        if not seed.isdecimal():
            raise ValueError(f"{spec}: the seed of scenes is {seed!r}; need a whole number from 0, as in 'scenes:7'")
        return Scenes(seed=int(seed))
    path = Path(spec)
    if path.is_dir():
        return _with_sidecars(path)
    if not path.is_file():
        raise FileNotFoundError(f"{spec}: no such source; need 'scenes', a folder of images, or a .csv, .tsv or .jsonl file")
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl}
    if path.suffix not in readers:
        raise ValueError(
            f"{spec}: cannot read captions from {path.suffix or 'a file without suffix'}; need .csv, .tsv or .jsonl"
        )
    return _from_rows(path, readers[path.suffix](path))


def _with_sidecars(folder: Path) -> Files:
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    paths = [p for p in images if p.with_suffix(".txt").is_file()]
    if not paths:
        raise ValueError(
            f"{folder}: {len(images)} images, none with a caption; put the caption of a.png into a.txt beside it, "
            "or name a .csv or .jsonl file"
        )
    return Files(paths, [_read_text(p.with_suffix(".txt")).strip() for p in paths])


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from None


def _read_csv(path: Path) -> list[dict[str, str]]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(_read_text(path)), delimiter=delimiter, strict=True)
    try:
        return list(reader)
    except csv.Error as error:  # an open quote, say, which would swallow the rows after it
        raise ValueError(f"{path}, line {reader.line_num + 1}: not {path.suffix[1:].upper()}: {error}") from None


def _read_jsonl(path: Path) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: found {type(row).__name__}, need an object with path and caption")
            rows.append(row)
    return rows


def _from_rows(path: Path, rows: list[dict[str, str]]) -> Files:
    if not rows:
        raise ValueError(f"{path}: holds no rows")
    image, caption = (_column(path, rows[0], names) for names in (PATH_COLUMNS, CAPTION_COLUMNS))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(image), str) or not isinstance(row.get(caption), str):
            raise ValueError(f"{path}, row {number}: {image!r} and {caption!r} must both be text, found {row}")
    return Files([path.parent / row[image] for row in rows], [row[caption].strip() for row in rows])


def _column(path: Path, row: dict[str, str], names: Sequence[str]) -> str:
    for name in names:
        if name in row:
            return name
    raise ValueError(f"{path}: columns {', '.join(map(str, row))}; need one of {', '.join(names)}")
