"""Tables: image files on disk, with captions in text files beside them or in a CSV, JSON or JSONL file.

In: a folder or files. Out: `Files`, whose paths are strings: a million path objects need too much memory.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from genlip.data.examples import Caption, Example, Unusable, short_repr
from genlip.data.file_search import Walked, first_names, suffix_of, walk
from genlip.data.sources.fields import CaptionFields
from genlip.model.fields import shown
from genlip.model.files import one_line, printable
from genlip.model.reading import MAX_TEXT_BYTES, each_of_json_list, parse_json, read_text

__all__ = [
    "PATH_COLUMNS", "READERS", "TEXT_SUFFIXES", "Files", "Row", "check_columns", "check_inside", "filled_path_column",
    "has_captions",
    "image_path", "open_folder", "open_tables",
]  # fmt: skip

log = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "filepath", "images")
TEXT_SUFFIXES = (".txt", ".caption", ".text")  # suffixes of caption files beside images, the usual one first
_TEXT_FIELDS = ("txt", "caption", "text")  # field names for the text of such a file
_MAX_TEXT_BYTES = 2**24  # limit for such a file
_FOLDER = CaptionFields({"txt": 1.0})
csv.field_size_limit(2**31 - 1)  # captions of any length are read; `Captions` cuts them
Row = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Files:
    """Image files with their captions.

    Attributes:
        paths: of the images.
        captions: of each image, or the reason why it cannot be used.
        name: in counters and messages.
        notes: lines about what was left out or unusual when they were opened.
    """

    paths: Sequence[str | Path]
    captions: Sequence[Caption | Unusable]
    name: str = "files"
    notes: Sequence[str] = ()

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return Example(printable(str(self.paths[index])), Path(self.paths[index]), self.caption(index))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        caption = self.captions[index]
        if isinstance(caption, Unusable):
            raise Unusable(caption.reason, f"{printable(str(self.paths[index]))}: {caption}")
        return caption


def open_folder(folder: Path, fields: CaptionFields | None = None) -> Files:
    """Images of a folder and its subfolders, each beside a .txt of the same name with its caption.

    Raises ValueError if no image has a caption, or if `fields` name none of "txt", "caption" and "text".
    """
    name, walked = printable(str(folder)), walk(folder)
    if fields and fields.chances:
        fields.among(_TEXT_FIELDS, name)
    texts = {_stem(path): path for kind in reversed(TEXT_SUFFIXES) for path in walked.files if suffix_of(path) == kind}
    images = walked.images()
    paths = [path for path in images if _stem(path) in texts]
    notes = _left_out(walked, images, texts)
    for kind in (".tar", ".parquet"):
        if not paths and (files := [path for path in walked.files if suffix_of(path) == kind]):
            raise ValueError(f"{name}: holds {len(files)} {kind} files; write '{name}/*{kind}'")
    if not paths:
        raise ValueError(
            f"{name}: {len(images)} images, none with a caption; put the caption of a.png into a.txt beside it, "
            "or name a .csv or .jsonl file" + "".join(f"; {note}" for note in notes[bool(images) :])
        )
    captions = [_beside(texts[_stem(path)]) for path in paths]
    notes += _several_lines(paths, captions)
    _tell(name, notes)
    return Files(paths, captions, name, notes)


def has_captions(walked: Walked) -> bool:
    """Whether any image of a folder has a caption beside it."""
    texts = {_stem(path) for path in walked.files if suffix_of(path) in TEXT_SUFFIXES}
    return any(_stem(path) in texts for path in walked.images())


def _left_out(walked: Walked, images: Sequence[str], texts: Mapping[str, str]) -> list[str]:
    """Lines about files of a folder that belong to no example."""
    pictures = {_stem(path) for path in images}
    bare = [path for path in images if _stem(path) not in texts]
    alone = [path for stem, path in sorted(texts.items()) if stem not in pictures]
    wanted = {_stem(path) for path in alone}
    other = [path for path in walked.files if _stem(path) in wanted and suffix_of(path) not in TEXT_SUFFIXES]
    taken = {_stem(path) for path in other}
    alone = [path for path in alone if _stem(path) not in taken]
    kinds = ", ".join(sorted({suffix_of(path) or "no suffix" for path in other}))
    counted = [
        (bare, f"{len(bare)} of {len(images)} images have no caption beside them, and are left out"),
        (other, f"{len(other)} files have a caption and no suffix of an image that is read ({kinds}), and are left out"),
        (alone, f"{len(alone)} captions have no image beside them, and are left out"),
    ]
    return [f"{what}: {first_names(found)}" for found, what in counted if found] + walked.notes()


def _several_lines(paths: Sequence[str], captions: Sequence[Caption | Unusable]) -> list[str]:
    several = [path for path, text in zip(paths, captions, strict=True) if isinstance(text, str) and "\n" in text]
    if not several:
        return []
    return [
        f"{len(several)} of {len(paths)} captions have several lines: {first_names(several)}; captions.lines says whether "
        "all of them are read (the default), the first, or any one"
    ]


def _tell(name: str, notes: Iterable[str]) -> None:
    for note in notes:
        log.warning("%s: %s", name, note)


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]  # noqa: PTH122  strings


def _beside(text: str) -> Caption | Unusable:
    """The caption from a file beside an image."""
    try:
        return _FOLDER.read_or_reason({"txt": read_text(text, _MAX_TEXT_BYTES)})
    except ValueError as error:
        return Unusable("damaged", str(error))


def open_tables(files: Sequence[str], fields: CaptionFields, name: str, allow_outside: bool = False) -> Files:
    """Rows of one or several tables, each with a path (relative to its table) and a caption.

    allow_outside  also read images outside of the folder of their table
    """
    paths: list[str] = []
    captions: list[Caption | Unusable] = []
    for file in map(Path, files):
        for path, caption in _read_rows(file, fields, allow_outside):
            paths.append(path)
            captions.append(caption)
    return Files(paths, captions, printable(name))


def _read_rows(file: Path, fields: CaptionFields, allow_outside: bool) -> Iterator[tuple[str, Caption | Unusable]]:
    """Path and caption of each row."""
    rows = iter(READERS[file.suffix.lower()](file))
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{file}: holds no rows")
    image = next((column for column in PATH_COLUMNS if column in first), None)
    if image is None:
        raise ValueError(f"{file}: columns {one_line(', '.join(first))}; need one of {', '.join(PATH_COLUMNS)}")
    fields = fields.among(first, str(file))
    for number, row in enumerate(chain([first], rows), start=1):
        try:
            path = image_path(row.get(image), image)
        except Unusable as error:
            yield f"{file}, row {number}", error.with_traceback(None)
            continue
        if not allow_outside:
            check_inside(file.parent, path, f"{file}, row {number}")
        yield str(file.parent / path), fields.read_or_reason(row)


def image_path(entry: Any, column: str) -> str:
    """The path in a row: a text, the Hub's {"path": …}, or a list of one of these. Raises `Unusable`."""
    if isinstance(entry, list):
        if len(entry) > 1:
            raise Unusable("several images", f"{len(entry)} images in {column!r}; a sample holds one")
        entry = entry[0] if entry else None
    path = entry.get("path") if isinstance(entry, Mapping) else entry
    if not isinstance(path, str) or not path:
        raise Unusable("missing", f"no path in {column!r}")
    if "://" in path:
        raise Unusable("missing", f"its image is at a URL, {path!r}; fetch it first, as img2dataset does")
    return path


def filled_path_column(row: Row) -> str | None:
    """The first of `PATH_COLUMNS` in which a row has something; rows of one table may use different ones."""
    return next((column for column in PATH_COLUMNS if row.get(column) not in (None, "", [])), None)


def check_inside(folder: Path, path: str, where: str) -> None:
    """Raise ValueError for an image outside the folder: a table from elsewhere could name any file of this machine."""
    if os.path.isabs(path) or ".." in path:  # noqa: PTH117
        base = os.path.abspath(folder)  # noqa: PTH100  links are kept: a user's own
        if not os.path.abspath(folder / path).startswith(os.path.join(base, "")):  # noqa: PTH100, PTH118
            raise ValueError(
                f"{where}: its image, {path!r}, lies outside {printable(str(folder))}; if you trust this file, allow it "
                "with data.allow_outside (--allow-outside)"
            )


def _read_csv(path: Path) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter, strict=True)
    try:
        check_columns(filter(None, reader.fieldnames or []), str(path))
        for row in reader:
            if None in row:
                raise ValueError(
                    f"{path}, line {reader.line_num}: more cells than the {len(row) - 1} columns; "
                    f"put quotes around a caption that holds {delimiter!r}"
                )
            yield row
    except csv.Error as error:  # for example an unclosed quote, which would include the rows after it
        raise ValueError(f"{path}, line {reader.line_num + 1}: not {path.suffix[1:].upper()}: {error}") from None


def check_columns(names: Iterable[str], path: str) -> None:
    """Raise ValueError if two columns of a table have the same name: only one of them would be read."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{path}: the column {shown(twice[0])} stands twice; name one of them otherwise")


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            row = parse_json(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise ValueError(
                    f"{path}, line {number}: found {type(row).__name__}, need an object with the fields of a row"
                )
            yield row


def _read_json(path: Path) -> Iterator[Row]:
    """A list of objects, the published form of conversations."""
    need = "a list of objects, each with the fields of a row"
    for row in each_of_json_list(read_text(path, MAX_TEXT_BYTES), str(path), need):
        if not isinstance(row, dict):
            raise ValueError(f"{path}: need {need}")
        yield row


READERS: Mapping[str, Callable[[Path], Iterable[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
}
