"""Tables: image files on disk with their captions beside them or in a CSV, JSON or JSONL file.

In: a folder or files. Out: `Files`, whose paths are texts: a million rows must not cost a million path objects.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from genlip.data.examples import Caption, Example, Unusable
from genlip.data.images import IMAGE_SUFFIXES
from genlip.data.sources.fields import CaptionFields
from genlip.model.reading import parse_json

__all__ = ["PATH_COLUMNS", "READERS", "Files", "Row", "open_folder", "open_tables", "read_json"]

log = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Files:
    """Image files with their captions.

    Attributes:
        paths: of the images.
        captions: of each image, or why there is none.
        name: what counters and messages call them.
    """

    paths: Sequence[str | Path]
    captions: Sequence[Caption | Unusable]
    name: str = "files"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return Example(str(self.paths[index]), Path(self.paths[index]), self.caption(index))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        caption = self.captions[index]
        if isinstance(caption, Unusable):
            raise Unusable(caption.reason, f"{self.paths[index]}: {caption}")
        return caption


def open_folder(folder: Path) -> Files:
    """Images of a folder and the folders in it, each beside a .txt of the same name with its caption."""
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    paths = [p for p in images if p.with_suffix(".txt").is_file()]
    for kind in (".tar", ".parquet"):
        if not paths and (files := list(folder.glob(f"*{kind}"))):
            raise ValueError(f"{folder}: holds {len(files)} {kind} files; write '{folder}/*{kind}'")
    if not paths:
        raise ValueError(
            f"{folder}: {len(images)} images, none with a caption; put the caption of a.png into a.txt beside it, "
            "or name a .csv or .jsonl file"
        )
    if len(paths) < len(images):
        log.warning(
            "%s: %d of %d images have no caption beside them, and are left out",
            folder,
            len(images) - len(paths),
            len(images),
        )
    return Files([str(p) for p in paths], [_beside(p) for p in paths], str(folder))


def _beside(image: Path) -> str | Unusable:
    """The caption beside an image."""
    try:
        return _read_text(image.with_suffix(".txt")).strip()
    except ValueError as error:
        return Unusable("damaged", str(error))


def open_tables(files: Sequence[str], fields: CaptionFields, name: str) -> Files:
    """Rows of one or several tables, each with a path (relative to its table) and a caption."""
    paths: list[str] = []
    captions: list[Caption | Unusable] = []
    for file in map(Path, files):
        for path, caption in _read_rows(file, fields):
            paths.append(path)
            captions.append(caption)
    return Files(paths, captions, name)


def _read_rows(file: Path, fields: CaptionFields) -> Iterator[tuple[str, Caption | Unusable]]:
    """Path and caption of each row."""
    rows = iter(READERS[file.suffix.lower()](file))
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{file}: holds no rows")
    image = next((column for column in PATH_COLUMNS if column in first), None)
    if image is None:
        raise ValueError(f"{file}: columns {', '.join(first)}; need one of {', '.join(PATH_COLUMNS)}")
    fields = fields.among(first, str(file))
    for number, row in enumerate(chain([first], rows), start=1):
        path = row.get(image)
        if isinstance(path, str) and path:
            yield str(file.parent / path), _caption(row, fields)
        else:
            yield f"{file}, row {number}", Unusable("missing", f"no path in {image!r}")


def _caption(row: Row, fields: CaptionFields) -> Caption | Unusable:
    try:
        return fields.read(row)
    except Unusable as error:  # told, and counted, when it is its turn: one row must not cost the others
        return error.with_traceback(None)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from None


def _read_csv(path: Path) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(_read_text(path)), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if None in row:
                raise ValueError(
                    f"{path}, line {reader.line_num}: more cells than the {len(row) - 1} columns; "
                    f"put quotes around a caption that holds {delimiter!r}"
                )
            yield row
    except csv.Error as error:  # an open quote, say, which would swallow the rows after it
        raise ValueError(f"{path}, line {reader.line_num + 1}: not {path.suffix[1:].upper()}: {error}") from None


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            row = parse_json(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: found {type(row).__name__}, need an object with path and caption")
            yield row


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises ValueError for any other text."""
    return parse_json(_read_text(path), str(path))


def _read_json(path: Path) -> list[Row]:
    """One list of objects, as conversations are published."""
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: need a list of objects with path and caption")
    return rows


READERS: Mapping[str, Callable[[Path], Iterable[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
}
