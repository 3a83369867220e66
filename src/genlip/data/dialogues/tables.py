"""Tables: dialogues in CSV, JSON and JSONL files, with paths of any number of images.

In: files. Out: the `DialogueTables` of their rows. What is read of a row is kept as JSON in one block of bytes: objects of
millions of messages would need several times the memory, and again in every worker process.
"""

from __future__ import annotations

import io
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from genlip.data.dialogues.arranging import arranged
from genlip.data.dialogues.dialogue import Dialogue
from genlip.data.dialogues.fields import DialogueFields, Talk
from genlip.data.examples import Unusable, short_repr
from genlip.data.sources.tables import PATH_COLUMNS, READERS, check_inside, image_path
from genlip.model.files import one_line, printable

__all__ = ["DialogueTables", "open_dialogue_tables"]

_IMAGES = tuple(dict.fromkeys(("images", "image", *PATH_COLUMNS)))  # the first that a row has holds its images
Row = Mapping[str, Any]


@dataclass(frozen=True, repr=False, eq=False)
class DialogueTables:
    """Rows of tables.

    Attributes:
        name: in counters and messages.
        tables: each file, and how its rows are read.
        ends: Int64[files], number of rows up to the end of each file.
        rows: JSON of the rows, one after another.
        row_ends: Int64[rows], where each ends.
    """

    name: str
    tables: Sequence[_Table]
    ends: np.ndarray
    rows: bytes
    row_ends: np.ndarray

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.row_ends)

    def __getitem__(self, index: int) -> Dialogue:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: row {index} of {len(self)}")
        file = int(np.searchsorted(self.ends, index, side="right"))
        before = int(self.ends[file - 1]) if file else 0
        start = int(self.row_ends[index - 1]) if index else 0
        row = json.loads(self.rows[start : int(self.row_ends[index])])
        return self.tables[file].dialogue(row, int(index) - before + 1, int(index))


@dataclass(frozen=True)
class _Table:
    """How the rows of a file are read.

    Attributes:
        file: the table.
        folder: what paths of images are relative to.
        fields: of conversations and captions.
        allow_outside: read images outside of the folder too.
    """

    file: Path
    folder: Path
    fields: DialogueFields
    allow_outside: bool

    def rows(self, rows: Iterator[Row]) -> Iterator[Row]:
        """What is read of each row. Raises ValueError for an image outside of the folder."""
        kept = ("id", *_IMAGES, *self.fields.names)
        for number, row in enumerate(rows, start=1):
            column, entries = _images(row)
            for entry in [] if self.allow_outside else entries:
                with suppress(Unusable):  # raised and counted when the row is read
                    check_inside(self.folder, image_path(entry, column), f"{self.file}, row {number}")
            yield {name: row[name] for name in kept if row.get(name) not in (None, "", [])}

    def dialogue(self, row: Row, number: int, index: int) -> Dialogue:
        """The dialogue of a row. Raises `Unusable`."""
        key = one_line(f"{self.file}, row {number}" + (f", id {row['id']}" if "id" in row else ""))
        column, entries = _images(row)
        try:
            talk = self.fields.read(row, index)
            paths = [image_path(entry, column) for entry in entries] or self._places(talk)
        except Unusable as error:  # without the key
            raise Unusable(error.reason, f"{key}: {error}") from None
        return arranged(key, [self.folder / path for path in paths], talk)

    def _places(self, talk: Talk) -> list[str]:
        """Paths of images that the messages themselves give. Raises `Unusable`."""
        places = talk.places if any(talk.places) else ()
        if any(isinstance(place, str) and place.startswith("data:") for place in places):
            raise Unusable("missing", "its image is inside the text (data:); write it into a file and give its path")
        paths = [image_path(place, "an image of a message") for place in places]
        for path in [] if self.allow_outside else paths:
            try:
                check_inside(self.folder, path, "a message")
            except ValueError as error:
                raise Unusable("missing", str(error)) from None
        return paths


def open_dialogue_tables(
    files: Sequence[str], fields: DialogueFields, name: str, images: str = "", allow_outside: bool = False
) -> DialogueTables:
    """Rows of one or several tables, each with a conversation or a caption and the paths of its images, if it has any.

    images         the folder that paths are relative to; "" is the folder of each table
    allow_outside  also read images outside of that folder

    Raises FileNotFoundError or ValueError for a table that cannot be read.
    """
    if images and not Path(images).is_dir():
        raise FileNotFoundError(f"{name}: its images are said to be in {images}, and there is no such folder")
    tables, ends = list[_Table](), list[int]()
    held, row_ends = io.BytesIO(), array("q")
    for file in map(Path, files):
        rows = iter(READERS[file.suffix.lower()](file))
        first = next(rows, None)
        if first is None:
            raise ValueError(f"{file}: holds no rows")
        tables.append(_Table(file, Path(images) if images else file.parent, fields.among(first, str(file)), allow_outside))
        _check_first(tables[-1], first)
        for row in tables[-1].rows(chain([first], rows)):
            held.write(json.dumps(row, separators=(",", ":")).encode())
            row_ends.append(held.tell())
        ends.append(len(row_ends))
    return DialogueTables(printable(name), tables, np.array(ends), held.getvalue(), np.array(row_ends, dtype=np.int64))


def _check_first(table: _Table, row: Row) -> None:
    """Raise ValueError for a table of captions without paths of images."""
    with suppress(Unusable):  # raised and counted when the row is read
        if not any(name in row for name in _IMAGES) and table.fields.read(row, 0).form == "caption":
            columns = one_line(", ".join(row))
            raise ValueError(f"{table.file}: columns {columns}; captions need an image, in one of {', '.join(_IMAGES)}")


def _images(row: Row) -> tuple[str, list[Any]]:
    """The column of a row that holds its images, and what it holds for each of them."""
    column = next((name for name in _IMAGES if row.get(name)), "")
    held = row[column] if column else []
    return column, held if isinstance(held, list) else [held]
