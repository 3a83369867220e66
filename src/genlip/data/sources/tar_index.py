"""Tar index: the locations of images and captions in a shard, from its headers only.

In: a WebDataset shard with adjacent members of a sample: 000000001.jpg, 000000001.txt, 000000001.json.
Out: Row[samples], kept as <cache>/index/<fingerprint of the shard>.npy, so a changed shard gets a new index. `CAPTIONED` is
the layout of samples with an image each; other kinds of samples have a `Layout` of their own.

Plain headers are parsed here, a batch at a time; a shard with any other header (long names, links, sparse files) is read by
Python's `tarfile`, about five times slower (benchmarks/tar_index.md). `tar_samples` decides which members make a
sample. What is left out is counted in <fingerprint>.notes.json beside the index, and reported at each opening.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import re
import struct
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from genlip.data.sources.cache import ShardCache, fingerprint
from genlip.data.sources.paths import is_remote
from genlip.data.sources.tar_samples import Member, Problems, TarSample, samples_of
from genlip.model.file_kinds import HEAD, LFS_POINTER, but_is, is_lfs_pointer
from genlip.model.files import printable
from genlip.model.writing import write_whole

__all__ = [
    "BLOCK", "CAPTIONED", "LARGEST", "ROW", "Layout", "index_path", "index_row", "index_rows", "index_shards", "member_name",
    "stored_count",
]  # fmt: skip

BLOCK = 512
# A sample: the first block of the data of each member, and its bytes; block 0, always a header, means none. `headers` is the
# number of header blocks of the image, 1 for a plain header. Sizes that do not fit become the largest, which readers refuse.
ROW = np.dtype(
    [
        ("image", "<u4"),
        ("image_bytes", "<u4"),
        ("text", "<u4"),
        ("text_bytes", "<u4"),
        ("json", "<u4"),
        ("json_bytes", "<u4"),
        ("headers", "u1"),
    ]
)
LARGEST = 2**32 - 1
_HEADER = np.dtype(
    {
        "names": ("name", "checksum", "type", "prefix"),
        "formats": ("S100", "S8", "S1", "S155"),
        "offsets": (0, 148, 156, 345),
        "itemsize": BLOCK,
    }
)
_ZEROS = bytes(BLOCK)
_WINDOW = 8 * BLOCK  # holds the caption members, and the next image's header, after an image
_BATCH = 1024  # headers
_MAGICS = (b"ustar\x0000", b"ustar  \x00")  # POSIX, GNU
_TYPE = 156  # offset of the type in a header
_FOLDER, _EXTENDED = ord("5"), ord("x")
_PLAIN, _NO_FILES = b"0\0005x", b"5x"
# Extended headers of webdataset's old writer: the time with its fraction. Any other entry could change the name.
_TIMES = re.compile(rb"(?:\d+ [amc]time=[\d.]+\n)+")
_LONGEST_HEADER = 2**16  # limit of bytes of an extended header; `tarfile` has none
# tarfile raises any of these for damaged headers.
_DAMAGE = (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError, TypeError, struct.error)


# Plain tuples: a million samples have three million of each, and named tuples are slower. Offset of the header, or of the
# extended header before it; offset of the data; bytes of data; the header.
_Header = tuple[int, int, int, bytes]


class _NotPlain(Exception):
    """A header that this file cannot parse."""


class Layout(NamedTuple):
    """What the index of a shard holds.

    Attributes:
        version: part of its file name; it must change with the other attributes and the rules below.
        rows: type of the array with a row for each sample, the index itself.
        make: these rows from the members of a shard, and further arrays by the ends of their file names.
    """

    version: str
    rows: np.dtype[Any]
    make: Callable[[Iterable[Member], Problems], tuple[np.ndarray, dict[str, np.ndarray]]]


def _captioned(members: Iterable[Member], problems: Problems) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Row[samples] of images with captions."""
    return np.array([_row(sample) for sample in samples_of(members, problems)], dtype=ROW), {}


CAPTIONED = Layout("2", ROW, _captioned)


# -- index files


def index_path(folder: Path, version: str, layout: Layout = CAPTIONED) -> Path:
    """Path of the index of a shard with a `fingerprint`."""
    return folder / "index" / f"{version}-{layout.version}.npy"


def stored_count(index: Path, row: np.dtype[Any] = ROW) -> int | None:
    """Number of samples in an index, from its header; None if it is missing or incomplete."""
    try:
        with index.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            whole = file.tell() + row.itemsize * shape[0] == os.fstat(file.fileno()).st_size
    except (FileNotFoundError, ValueError, LookupError):
        return None
    return int(shape[0]) if whole and dtype == row else None


def index_shards(
    paths: Sequence[str], cache: ShardCache, layout: Layout = CAPTIONED
) -> tuple[list[str], list[int], list[str]]:
    """Build missing indexes. Returns each shard's fingerprint and number of samples, and lines about what is left out.

    Raises FileNotFoundError for a missing shard, and ValueError for one that is empty or not a tar.
    """
    with ThreadPoolExecutor(16) as threads:  # file systems take long to answer
        versions = list(threads.map(fingerprint, paths))
        indexes = [index_path(cache.folder, version, layout) for version in versions]
        counts = list(threads.map(functools.partial(stored_count, row=layout.rows), indexes))
        missing = [place for place, count in enumerate(counts) if count is None]
        jobs = [(paths[place], versions[place], layout) for place in missing]
        for place, count in zip(missing, _built(jobs, cache), strict=True):
            counts[place] = count
        problems = list(threads.map(_stored_problems, indexes))
    return versions, [count or 0 for count in counts], _summed(paths, problems)


def _stored_problems(index: Path) -> Problems:
    """What an index leaves out, from its notes file; empty without one."""
    try:
        return Problems.from_json(json.loads(_notes_path(index).read_text(encoding="utf8")))
    except (FileNotFoundError, ValueError, TypeError):
        return Problems()


def _notes_path(index: Path) -> Path:
    return index.with_suffix(".notes.json")


def _summed(paths: Sequence[str], problems: Sequence[Problems]) -> list[str]:
    """A line for each kind of problem: the number in all shards, and the first place."""
    total, shards = Problems(), Counter[str]()
    for path, some in zip(paths, problems, strict=True):
        shards.update(list(some.found))
        for what, (count, first) in some.found.items():
            total.add(what, f"{printable(PurePosixPath(path).name)}: {first}", count)
    return [
        f"{count} {what}" + (f" in {shards[what]} shards" if shards[what] > 1 else "") + f", first {first}"
        for what, (count, first) in total.found.items()
    ]


def _built(jobs: Sequence[tuple[str, str, Layout]], cache: ShardCache) -> Iterator[int]:
    """The results of `_build` for the jobs, in order."""
    build = functools.partial(_build, cache)
    remote = any(is_remote(path) for path, *_ in jobs)
    workers = min(len(jobs), 16, max(os.cpu_count() or 1, 8 if remote else 1))  # downloads mostly wait
    if workers < 2 or multiprocessing.current_process().daemon:
        yield from _with_progress(map(build, jobs), len(jobs))
        return
    with _pool(workers) as pool:
        yield from _with_progress(pool.map(build, jobs), len(jobs))


def _pool(workers: int) -> Executor:
    # Parsing holds the GIL, so threads are not faster. Except on Linux, a new process would import the calling program
    # again, which fails unless it is guarded by __main__.
    if sys.platform == "linux":
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    return ThreadPoolExecutor(workers)


def _with_progress(results: Iterable[int], total: int) -> Iterator[int]:
    """The results; on a terminal, shows progress after two seconds."""
    start, progress = time.monotonic(), Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task("indexing shards", total=total)
    with contextlib.ExitStack() as shown:
        for result in results:
            if not progress.live.is_started and progress.console.is_terminal and time.monotonic() - start > 2:
                shown.enter_context(progress)
            progress.advance(task)
            yield result


def _build(cache: ShardCache, job: tuple[str, str, Layout]) -> int:
    """Write the index of a shard and its notes. Returns the number of samples."""
    path, version, layout = job
    descriptor = cache.open(path, version)
    try:
        (rows, others), problems = _rows_of(descriptor, path, layout)
    finally:
        os.close(descriptor)
    index = index_path(cache.folder, version, layout)
    _notes_path(index).unlink(missing_ok=True)
    if problems.found:
        with write_whole(_notes_path(index)) as part:
            part.write_text(json.dumps(problems.to_json()), encoding="utf8")
    for end, array in (*others.items(), ("", rows)):  # the index last: if it exists, the others and the notes do too
        with write_whole(index.with_suffix(f"{end}.npy")) as part, part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    return len(rows)


def index_row(index: Path, number: int) -> tuple[int, ...]:
    """One row of an index of captioned images."""
    return index_rows(index, ROW, number)[0].item()


def index_rows(index: Path, row: np.dtype[Any], first: int, count: int = 1) -> np.ndarray:
    """Some rows of an index. The file is closed at once: there may be more shards than files that may be open."""
    with index.open("rb", buffering=0) as file:
        start = 10 + int.from_bytes(file.read(10)[8:], "little")  # magic, version, length of the header, header
        file.seek(start + first * row.itemsize)
        return np.frombuffer(file.read(count * row.itemsize), row)


# -- members into samples


def _rows_of(
    descriptor: int, path: str, layout: Layout = CAPTIONED
) -> tuple[tuple[np.ndarray, dict[str, np.ndarray]], Problems]:
    """The arrays of an open shard, and what is left out."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, HEAD, 0)
    if is_lfs_pointer(head):
        raise ValueError(f"{printable(path)}: {LFS_POINTER}")
    if size < BLOCK or size > BLOCK * LARGEST:
        raise ValueError(f"{path}: {'empty' if not size else 'not a tar'}: {size} bytes{but_is(head, 'an empty file')}")
    readers: tuple[Callable[[int, int, Problems], Iterator[Member]], ...] = (_plain_members, _all_members)
    for members in readers:
        problems = Problems()
        with contextlib.suppress(_NotPlain):
            return layout.make(members(descriptor, size, problems), problems), problems
    raise ValueError(f"{path}: not an uncompressed tar, or its first header is damaged{but_is(head, 'a tar archive')}")


def _row(sample: TarSample) -> tuple[int, ...]:
    """The `ROW` of a sample."""
    row = [0] * 7
    for kind, member in enumerate((sample.image, sample.text, sample.json)):
        if member is not None:
            _, headers, data, size = member
            row[2 * kind : 2 * kind + 2] = data // BLOCK, min(size, LARGEST)
            if kind == 0:
                row[6] = min((data - headers) // BLOCK, 255)
    return tuple(row)


# -- headers into members


def _plain_members(descriptor: int, size: int, problems: Problems) -> Iterator[Member]:
    """The files of a shard whose headers are all plain. Raises `_NotPlain` for a header that is not, or is damaged."""
    place, headers = 0, _headers(descriptor)
    while batch := list(itertools.islice(headers, _BATCH)):
        blocks = np.frombuffer(b"".join([block for *_, block in batch]), _HEADER)
        _check(blocks)
        names, prefixes = blocks["name"].tolist(), blocks["prefix"].tolist()
        for (start, data, length, block), name, prefix in zip(batch, names, prefixes, strict=True):
            place = data + _padded(length)
            if block[_TYPE] in _NO_FILES:
                continue
            if data + length <= size:
                yield _joined(prefix, name), start, data, length
            else:
                problems.add("cut-off members", f"at byte {start}")
    _note_ending(descriptor, place, size, problems)


def _headers(descriptor: int) -> Iterator[_Header]:
    """All headers up to the end mark or the end of the file. Raises `_NotPlain`."""
    start = place = 0
    read = _windowed(descriptor)
    while len(block := read(place, BLOCK)) == BLOCK and block != _ZEROS:
        length = _length(block)
        place += BLOCK
        yield start, place, length, block
        if block[_TYPE] != _EXTENDED:
            start = place = place + _padded(length)
            continue
        if length > _LONGEST_HEADER or not _TIMES.fullmatch(read(place, length)):
            raise _NotPlain
        place += _padded(length)
    if start != place:  # an extended header that nothing follows
        raise _NotPlain


def _windowed(descriptor: int) -> Callable[[int, int], bytes]:
    """A function that reads by position and size, in larger chunks, since small members are adjacent."""
    window, window_start = b"", 0

    def read(place: int, size: int) -> bytes:
        nonlocal window, window_start
        at = place - window_start
        if at + size > len(window):
            window, window_start, at = os.pread(descriptor, max(size, _WINDOW), place), place, 0
        return window[at : at + size]

    return read


def _length(block: bytes) -> int:
    """Bytes of data after a header; always 0 for a folder."""
    if block[257:265] not in _MAGICS or block[_TYPE] not in _PLAIN or block[135] not in b"\0 ":
        raise _NotPlain
    try:
        length = 0 if block[_TYPE] == _FOLDER else int(block[124:135], 8)
    except ValueError:
        raise _NotPlain from None
    if length < 0:
        raise _NotPlain
    return length


def _check(blocks: np.ndarray) -> None:
    """Raise `_NotPlain` for headers with a wrong checksum, and for folders in the format before POSIX."""
    stated = blocks["checksum"].tolist()
    octets = blocks.view(np.uint8).reshape(len(blocks), BLOCK)
    sums = octets.sum(axis=1, dtype=np.int64) - octets[:, 148:156].sum(axis=1, dtype=np.int64) + 8 * ord(" ")
    try:
        whole = [int(text[:6], 8) for text in stated] == sums.tolist()
    except ValueError:
        whole = False
    old_folders = (blocks["type"] == b"") & np.char.endswith(blocks["name"], b"/")  # as before POSIX
    if not whole or old_folders.any():
        raise _NotPlain


def _joined(prefix: bytes, name: bytes) -> bytes:
    """A name of up to 255 bytes from two fields that end at their first zero byte."""
    if b"\0" in name:
        name = name[: name.index(b"\0")]
    if not prefix:
        return name
    prefix = prefix.partition(b"\0")[0]
    return prefix + b"/" + name if prefix else name


def _padded(size: int) -> int:
    return (size + BLOCK - 1) & -BLOCK


def _note_ending(descriptor: int, place: int, size: int, problems: Problems) -> None:
    """Check the end of the headers: there should be an end mark, and nothing after it."""
    rest = os.pread(descriptor, 2**20, min(place, size))
    if place >= size or len(rest) < BLOCK:
        problems.add("missing end marks", f"at byte {size}, where the shard may be cut off")
    elif rest[:BLOCK] != _ZEROS:
        problems.add("damaged headers", f"at byte {place}; the {size - place} bytes from there on are not read")
    elif rest.strip(b"\0"):
        problems.add("archives joined to the first", f"behind byte {place}; only the first is read")


class _Bounded(io.FileIO):
    """A file of which `tarfile` cannot read large parts into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size) or b""


def _all_members(descriptor: int, size: int, problems: Problems) -> Iterator[Member]:
    """The files of any tar, by `tarfile`. Raises `_NotPlain` if the first header is damaged."""
    place = 0
    try:
        with _Bounded(descriptor, closefd=False) as file, _opened(file) as tar:
            while (found := tar.next()) is not None:
                if found.size < 0 or tar.offset <= place:  # otherwise it could be read without end
                    raise tarfile.ReadError("a header that points back")
                place = tar.offset
                if found.isreg() and not found.issparse() and found.offset_data + found.size <= size:
                    yield found.name.encode(errors="surrogateescape"), found.offset, found.offset_data, found.size
                elif found.isreg() and not found.issparse():
                    problems.add("cut-off members", f"at byte {found.offset}")
                    break
                elif not found.isdir():
                    problems.add("links, sparse or special files", printable(found.name))
    except _DAMAGE as error:
        if place == 0:
            raise _NotPlain from error
    _note_ending(descriptor, place, size, problems)


def _opened(file: io.FileIO | io.BytesIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")


def member_name(headers: bytes) -> str:
    """The name of a member from its header blocks; the last one is the plain header."""
    if len(headers) > BLOCK:
        with contextlib.suppress(*_DAMAGE), _opened(io.BytesIO(headers)) as tar:
            return printable(tar.next().name)  # type: ignore[union-attr]
    block = headers[-BLOCK:]
    return _joined(block[345:500], block[:100].rstrip(b"\0")).decode(errors="backslashreplace")
