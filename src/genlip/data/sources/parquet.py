"""Parquet tables: a source of rows with an image and its captions, as on the Hugging Face Hub.

In: Parquet files, local or remote. Out: the `Source` of their rows, file after file.
Counts come from the files' footers. The row group of a row is decoded whole, as Parquet knows no less; what was decoded
last is kept, within a limit of bytes per process. Of all columns, only the image and the captions are ever read.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genlip.data.examples import Caption, Example, ImageLike, Unusable
from genlip.data.sources.cache import ShardCache, fingerprint
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.paths import file_system, is_remote

__all__ = ["ParquetTables"]

log = logging.getLogger(__name__)

# Taken where several columns could hold the image.
IMAGE_COLUMNS = ("image", "images", "jpg", "jpeg", "png", "webp", "img", "picture", "image_bytes", "bytes")
_MAX_IMAGE_BYTES = 2**29
_OPEN_FILES = 64
_DECODED_BYTES = 2**28
_MAX_GROUP_BYTES = 2**31  # of a row group, decoded


@dataclass(frozen=True)
class _Columns:
    """The columns that are read: the image, whether it is a struct of bytes and path, and the captions."""

    image: str
    is_struct: bool
    captions: tuple[str, ...]


class _Footer(NamedTuple):
    """What the end of a file tells."""

    schema: pa.Schema
    rows: tuple[int, ...]  # of each row group
    sizes: dict[str, int]  # decoded bytes of each column in the first row group


class _Place(NamedTuple):
    """Where a row lies."""

    file: int
    group: int  # in the file
    row: int  # in the row group
    number: int  # in the file


class _Decoded:
    """Columns of row groups, least recently used first, within a limit of bytes; the last one is kept however large."""

    def __init__(self, limit: int) -> None:
        self.limit, self.tables = limit, dict[tuple[int, int, str], pa.Table]()

    def get(self, key: tuple[int, int, str]) -> pa.Table | None:
        if (table := self.tables.pop(key, None)) is not None:
            self.tables[key] = table
        return table

    def put(self, key: tuple[int, int, str], table: pa.Table) -> None:
        self.tables[key] = table
        total = sum(table.nbytes for table in self.tables.values())
        for old in list(self.tables)[:-1]:
            if total <= self.limit:
                return
            total -= self.tables.pop(old).nbytes


class ParquetTables:
    """Rows of Parquet files."""

    def __init__(
        self,
        paths: Sequence[str],
        versions: Sequence[str | None],
        footers: Sequence[_Footer],
        columns: _Columns,
        fields: CaptionFields,
        name: str,
        cache: ShardCache,
        decoded_bytes: int = _DECODED_BYTES,
    ) -> None:
        self.name, self.fields = name, fields
        self._paths, self._versions, self._cache = list(paths), list(versions), cache
        self._columns, self._decoded_bytes = columns, decoded_bytes
        self._ends = np.cumsum([rows for footer in footers for rows in footer.rows], dtype=np.int64)  # of each row group
        self._group_ends = np.cumsum([len(footer.rows) for footer in footers], dtype=np.int64)  # of each file
        self._start()

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        fields: CaptionFields,
        name: str,
        cache: ShardCache | None = None,
        image_column: str | None = None,
    ) -> ParquetTables:
        """The rows of files that all have the same image and caption columns.

        fields        columns that hold captions: text, lists of texts or conversations
        cache         holds remote files; without it, the user's own
        image_column  without it, the one column of encoded images, or that with a usual name among several

        Raises FileNotFoundError where a file is gone; ValueError for one that is no Parquet file or lacks these columns.
        """
        with ThreadPoolExecutor(16) as threads:  # file systems take long to answer
            versions = list(threads.map(lambda path: fingerprint(path) if is_remote(path) else None, paths))
            footers = list(threads.map(_footer, paths))
        columns = _common_columns(paths, footers, fields, image_column)
        fields = fields if fields.chances else CaptionFields({columns.captions[0]: 1.0})
        tables = cls(paths, versions, footers, columns, fields, name, cache or ShardCache.default())
        if not len(tables):
            raise ValueError(f"{name}: no rows in {len(paths)} files")
        tables._warn_of_large_groups(footers)
        return tables

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Example:
        place = self._place(index)
        images = self._decoded_columns(place, [self._columns.image])[self._columns.image]
        try:
            held = images[place.row].as_py()
        except UnicodeDecodeError as error:
            raise Unusable("damaged", f"{self._key(place)}: the path of its image is not UTF-8: {error}") from None
        return Example(self._key(place), self._image(place, held), self._caption(place))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        return self._caption(self._place(index))

    # -- what a process keeps open, and never hands to another

    def _start(self) -> None:
        self._decoded = _Decoded(self._decoded_bytes)
        self._file = functools.lru_cache(_OPEN_FILES)(self._open_file)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_decoded", "_file")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def _open_file(self, file: int) -> pq.ParquetFile:
        # A map stays readable when the file is evicted, and has no position that a fork would share. Without
        # pre-buffering, no thread reads ahead, which a fork would lose.
        return self._cache.open_with(
            self._paths[file], lambda path: pq.ParquetFile(path, memory_map=True, pre_buffer=False), self._versions[file]
        )

    # -- one row

    def _place(self, index: int) -> _Place:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        group = int(np.searchsorted(self._ends, index, side="right"))
        file = int(np.searchsorted(self._group_ends, group, side="right"))
        first = int(self._group_ends[file - 1]) if file else 0  # group of the file
        starts = [int(self._ends[before - 1]) if before else 0 for before in (group, first)]
        return _Place(file, group - first, int(index) - starts[0], int(index) - starts[1])

    def _key(self, place: _Place) -> str:
        return f"{PurePosixPath(self._paths[place.file]).name}:{place.number}"

    def _decoded_columns(self, place: _Place, columns: Sequence[str]) -> pa.Table:
        """Some columns of a row's group. The first column stands for all: image and captions are read apart."""
        key = (place.file, place.group, columns[0])
        if (table := self._decoded.get(key)) is None:
            file = self._file(place.file)
            try:
                table = self._decode(file, place, columns)
            except (pa.ArrowException, OSError) as error:
                raise Unusable("damaged", f"{self._key(place)}: cannot be decoded: {error}") from error
            self._decoded.put(key, table)
        return table

    def _decode(self, file: pq.ParquetFile, place: _Place, columns: Sequence[str]) -> pa.Table:
        """Columns of a row group, some rows at a time: few bytes may stand for one image in each of a million rows."""
        group = file.metadata.row_group(place.group)
        stored = sum(group.column(i).total_uncompressed_size for i in range(group.num_columns))
        rows = max(1, min(256, _MAX_GROUP_BYTES // max(1, stored)))
        batches, size = [], 0
        for batch in file.iter_batches(rows, row_groups=[place.group], columns=list(columns), use_threads=False):
            batches.append(batch)
            if (size := size + batch.nbytes) > _MAX_GROUP_BYTES:
                found = f"{self._key(place)}: its row group takes more than {_MAX_GROUP_BYTES} bytes"
                raise Unusable("too large", f"{found}; write smaller row groups")
        return pa.Table.from_batches(batches)

    def _image(self, place: _Place, held: Any) -> ImageLike:
        """Encoded bytes; without them, the path of a file beside the table."""
        data, path = (held["bytes"], held.get("path")) if isinstance(held, dict) else (held, None)
        if data is not None:
            if len(data) > _MAX_IMAGE_BYTES:
                raise Unusable("too large", f"{self._key(place)}: {len(data)} bytes; the limit is {_MAX_IMAGE_BYTES}")
            return bytes(data)
        if not path:
            raise Unusable("missing", f"{self._key(place)}: no image in {self._columns.image!r}")
        if is_remote(path) or is_remote(self._paths[place.file]):
            raise Unusable("missing", f"{self._key(place)}: its image is elsewhere, at {path!r}; need its bytes")
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise Unusable("missing", f"{self._key(place)}: its image, {path!r}, is not beside the table")
        return Path(self._paths[place.file]).parent / path

    def _caption(self, place: _Place) -> Caption:
        columns = self._decoded_columns(place, self._columns.captions)
        try:
            return self.fields.read(columns.slice(place.row, 1).to_pylist()[0])
        except UnicodeDecodeError as error:
            raise Unusable("damaged", f"{self._key(place)}: not UTF-8 text: {error}") from None
        except Unusable as error:  # which does not know whose caption it is
            raise Unusable(error.reason, f"{self._key(place)}: {error}") from None

    def _warn_of_large_groups(self, footers: Sequence[_Footer]) -> None:
        columns = (self._columns.image, *self._columns.captions)
        largest = max(sum(footer.sizes.get(column, 0) for column in columns) for footer in footers)
        if largest > self._decoded_bytes:
            log.warning(
                "%s: row groups of up to %d MiB, each decoded for any of its rows; a few hundred rows per group read faster",
                self.name,
                largest >> 20,
            )


# -- footers and columns


def _footer(path: str) -> _Footer:
    try:
        if is_remote(path):
            system, inside = file_system(path)
            with system.open(inside, "rb") as file:
                return _told(pq.read_metadata(file))
        return _told(pq.read_metadata(path))
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not one of Arrow's own: the file is missing, say
            raise
        raise ValueError(f"{path}: not a Parquet file, or damaged: {' '.join(str(error).split())}") from None


def _told(metadata: pq.FileMetaData) -> _Footer:
    rows = tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    sizes: dict[str, int] = {}
    for number in range(metadata.num_columns if rows else 0):
        column = metadata.row_group(0).column(number)
        name = column.path_in_schema.partition(".")[0]  # a struct is stored as a column per field
        sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
    return _Footer(metadata.schema.to_arrow_schema(), rows, sizes)


def _common_columns(
    paths: Sequence[str], footers: Sequence[_Footer], fields: CaptionFields, image_column: str | None
) -> _Columns:
    """The columns to read, which must be the same in all files."""
    first = _columns(paths[0], footers[0].schema, fields, image_column)
    for path, footer in zip(paths, footers, strict=True):
        if footer.schema.equals(footers[0].schema):
            continue
        if (found := _columns(path, footer.schema, fields, image_column)) != first:
            raise ValueError(
                f"{path}: its columns differ from those of {paths[0]}: {_described(footer.schema)}, there "
                f"{_described(footers[0].schema)}; both need {first.image} and {', '.join(first.captions)}, found {found}"
            )
    return first


def _columns(path: str, schema: pa.Schema, fields: CaptionFields, image_column: str | None) -> _Columns:
    image = _image_column(path, schema, image_column)
    texts = [field.name for field in schema if field.name != image and _holds_text(field.type)]
    captions = fields.among(texts, f"{path} with columns {_described(schema)}").chances
    return _Columns(image, pa.types.is_struct(schema.field(image).type), tuple(name for name in captions if name in texts))


def _image_column(path: str, schema: pa.Schema, wanted: str | None) -> str:
    found = [field.name for field in schema if _holds_image(field.type)]
    usual = [name for name in IMAGE_COLUMNS if name in found]
    if wanted is None and (len(found) == 1 or usual):
        return found[0] if len(found) == 1 else usual[0]
    if wanted in found:
        return wanted  # type: ignore[return-value]
    what = f"image column {wanted!r}" if wanted else "several image columns" if found else "no image column"
    raise ValueError(
        f"{path}: {what} among {_described(schema)}; need one of binary, or struct<bytes: binary, path: string>"
    )


def _holds_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _holds_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts, lists of texts, or conversations as lists of structs."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_text(kind.value_type)
    if pa.types.is_struct(kind):
        return {"from", "value"} <= {field.name for field in kind} or {"role", "content"} <= {field.name for field in kind}
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema) or "no columns"
