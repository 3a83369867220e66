"""Parquet rows: rows with an image and other columns, as on the Hugging Face Hub, read by index.

In: Parquet files, local or remote. Out: the image of a row, and its other columns, file after file.
Counts come from the files' footers. Parquet decodes at least a whole row group. The row groups decoded last are cached,
within a limit of bytes per process. Only the named columns are read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genlip.data.examples import ImageLike, Unusable, short_repr
from genlip.data.sources.cache import ShardCache, fingerprint
from genlip.data.sources.open_files import LOCAL, REMOTE
from genlip.data.sources.parquet_columns import Columns, Footer, Others, common_columns, read_footer
from genlip.data.sources.paths import is_remote
from genlip.model.files import one_line, printable

__all__ = ["ParquetRows"]

log = logging.getLogger(__name__)

_MAX_IMAGE_BYTES = 2**29
_DECODED_BYTES = 2**28
_MAX_GROUP_BYTES = 2**31  # of a row group, decoded
_MAX_UNFOLDED = 4  # a row group may decode to so many times its stored bytes, plus `_DECODED_BYTES`


class _Place(NamedTuple):
    """Location of a row."""

    file: int
    group: int  # in the file
    row: int  # in the row group
    number: int  # in the file


class _TooLarge(Exception):
    """A row group that needs too much memory."""


class _Decoded:
    """Cache of columns of row groups, least recently used first, within a limit of bytes; the last one is always kept."""

    def __init__(self, limit: int) -> None:
        self.limit, self.tables = limit, dict[tuple[int, int, str], pa.Table]()
        self.refused: dict[
            tuple[int, int, str], tuple[str, str]
        ] = {}  # reasons why groups cannot be decoded; they are not tried again

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


class ParquetRows:
    """Rows of Parquet files: an image and other columns.

    Attributes:
        name: its name in messages.
        schema: the columns of the first file.
        others: the columns that are read beside the image.
    """

    def __init__(
        self,
        paths: Sequence[str],
        versions: Sequence[str],
        footers: Sequence[Footer],
        columns: Columns,
        name: str,
        cache: ShardCache,
        decoded_bytes: int = _DECODED_BYTES,
    ) -> None:
        self.name, self.schema, self.others = name, footers[0].schema, columns.others
        self._paths, self._versions, self._cache = list(paths), list(versions), cache
        self._columns, self._decoded_bytes = columns, decoded_bytes
        self._ends = np.cumsum([rows for footer in footers for rows in footer.rows], dtype=np.int64)  # of each row group
        self._group_ends = np.cumsum([len(footer.rows) for footer in footers], dtype=np.int64)  # of each file
        self._start()

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        others: Others,
        name: str,
        cache: ShardCache | None = None,
        image_column: str | None = None,
        image_needed: bool = True,
    ) -> ParquetRows:
        """The rows of files that share the columns to read.

        others        chooses the columns beside the image; it may refuse a file with a ValueError
        cache         cache of remote files; default: that of the user
        image_column  default: the only column of encoded images, or the one with a usual name
        image_needed  False: files without an image column are read too

        Raises FileNotFoundError for a missing file; ValueError for one that is not a Parquet file or lacks these columns.
        """
        with ThreadPoolExecutor(16) as threads:  # file systems take long to answer
            versions = list(threads.map(fingerprint, paths))
            footers = list(threads.map(read_footer, paths))
        columns = common_columns(paths, footers, others, image_column, image_needed)
        rows = cls(paths, versions, footers, columns, name, cache or ShardCache.default())
        if not len(rows):
            raise ValueError(f"{name}: no rows in {len(paths)} files")
        rows._warn_of_large_groups(footers)
        return rows

    __repr__ = short_repr

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def key(self, index: int) -> str:
        """Key of a row: its file and its number there."""
        return self._key(self._place(index))

    def image(self, index: int) -> ImageLike:
        """The image of a row: encoded bytes or a path. Raises `Unusable` if there is none, or several."""
        place = self._place(index)
        held = self._held(place)
        while isinstance(held, list):
            if len(held) > 1:
                raise Unusable("several images", f"{self._key(place)}: {len(held)} images in a row; a sample holds one")
            held = held[0] if held else None
        return self._image(place, held)

    def images(self, index: int) -> tuple[ImageLike, ...]:
        """All images of a row; none if its cell is empty, or if there is no image column. Raises `Unusable`."""
        place = self._place(index)
        held = self._held(place) if self._columns.image else None
        return () if _is_empty(held) else tuple(self._image(place, entry) for entry in _entries(held))

    def record(self, index: int) -> dict[str, Any]:
        """The other columns of a row, without reading the image. Raises `Unusable` if they cannot be read."""
        place = self._place(index)
        columns = self._decoded_columns(place, self.others)
        try:
            return columns.slice(place.row, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            raise Unusable("damaged", f"{self._key(place)}: not UTF-8 text: {error}") from None

    # -- state of a process, which is not pickled

    def _start(self) -> None:
        self._decoded = _Decoded(self._decoded_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_decoded"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def _file(self, file: int) -> pq.ParquetFile:
        # A map stays readable when the file is evicted, and has no position that a fork would share. Without
        # pre-buffering, no thread reads ahead, which a fork would lose.
        def opener(path: Path) -> pq.ParquetFile:
            return pq.ParquetFile(path, memory_map=True, pre_buffer=False)

        path, version = self._paths[file], self._versions[file]
        pool = REMOTE if is_remote(path) else LOCAL
        return pool.get(self, file, lambda: self._cache.open_with(path, opener, version))

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
        return f"{printable(PurePosixPath(self._paths[place.file]).name)}:{place.number}"

    def _decoded_columns(self, place: _Place, columns: Sequence[str]) -> pa.Table:
        """Some columns of a row's group. The first column stands for all: image and others are read apart."""
        key = (place.file, place.group, columns[0])
        if key in self._decoded.refused:
            kind, reason = self._decoded.refused[key]
            raise Unusable(kind, f"{self._key(place)}: {reason}")
        if (table := self._decoded.get(key)) is None:
            file = self._file(place.file)
            try:
                table = self._decode(file, place, columns)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                reason = f"cannot be decoded: {one_line(str(error))}"
                self._decoded.refused[key] = ("damaged", reason)
                raise Unusable("damaged", f"{self._key(place)}: {reason}") from error
            except _TooLarge as error:
                self._decoded.refused[key] = ("too large", str(error))
                raise Unusable("too large", f"{self._key(place)}: {error}") from None
            self._decoded.put(key, table)
        return table

    def _decode(self, file: pq.ParquetFile, place: _Place, columns: Sequence[str]) -> pa.Table:
        """Columns of a row group, some rows at a time: a small file may decode to the same image in a million rows."""
        group = file.metadata.row_group(place.group)
        parts = (group.column(i) for i in range(group.num_columns))
        stored = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.partition(".")[0] in columns)
        limit = min(_MAX_GROUP_BYTES, _MAX_UNFOLDED * max(0, stored) + _DECODED_BYTES)
        rows = max(1, min(256, limit // max(1, stored)))
        batches, size = [], 0
        for batch in file.iter_batches(rows, row_groups=[place.group], columns=list(columns), use_threads=False):
            batches.append(batch)
            if (size := size + batch.nbytes) > limit:
                raise _TooLarge(f"its row group takes more than {limit} bytes, {stored} stored; write smaller row groups")
        return pa.Table.from_batches(batches)

    def _held(self, place: _Place) -> Any:
        """The cell of the image column."""
        images = self._decoded_columns(place, [self._columns.image])[self._columns.image]
        try:
            return images[place.row].as_py()
        except UnicodeDecodeError as error:
            raise Unusable("damaged", f"{self._key(place)}: the path of its image is not UTF-8: {error}") from None

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

    def _warn_of_large_groups(self, footers: Sequence[Footer]) -> None:
        columns = (self._columns.image, *self.others)  # "" is in no footer
        largest = max(sum(footer.sizes.get(column, 0) for column in columns) for footer in footers)
        if largest > self._decoded_bytes:
            log.warning(
                "%s: row groups of up to %d MiB, each decoded for any of its rows; a few hundred rows per group read faster",
                self.name,
                largest >> 20,
            )


def _entries(held: Any) -> Iterator[Any]:
    """The entries of a cell, which may hold lists in lists."""
    if isinstance(held, list):
        for entry in held:
            yield from _entries(entry)
    else:
        yield held


def _is_empty(held: Any) -> bool:
    """Whether a cell holds no image: null, or null in all its fields."""
    return held is None or (isinstance(held, dict) and held.get("bytes") is None and not held.get("path"))
