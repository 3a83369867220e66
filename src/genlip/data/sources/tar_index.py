"""Tar index: where the images and captions of a shard lie, found from its headers alone.

In: a WebDataset shard, members of one sample side by side: 000000001.jpg, 000000001.txt, 000000001.json.
Out: Row[samples], kept as <cache>/index/<fingerprint of the shard>.npy, so that a changed shard has another index.

Plain headers are parsed here, a batch at a time; a shard with any other header (long names, links, sparse files) is read by
Python's `tarfile`, about five times slower (benchmarks/tar_index.md). What is left out of the index is counted and logged.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import multiprocessing
import os
import re
import struct
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from genlip.data.images import IMAGE_SUFFIXES
from genlip.data.sources.cache import ShardCache, fingerprint, write_whole
from genlip.data.sources.paths import is_remote

__all__ = ["BLOCK", "ROW", "index_path", "index_shards", "member_name", "stored_count"]

log = logging.getLogger(__name__)

BLOCK = 512
# A sample: the block where the data of each member begins and its bytes; block 0, always a header, means none. Blocks that
# the headers of the image take, 1 for a plain one. Sizes that do not fit are held as the largest, which no reader takes.
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
_LAYOUT = 1  # part of each index's name; a change of `ROW` or of the rules below takes the next number
_LARGEST = 2**32 - 1
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
_TYPE = 156  # the byte of a header that tells what follows
_FOLDER, _EXTENDED = ord("5"), ord("x")
_PLAIN, _NO_FILES = b"0\0005x", b"5x"
# What webdataset's writer once put before each member: the time with its fraction. Any other entry could change the name.
_TIMES = re.compile(rb"(?:\d+ [amc]time=[\d.]+\n)+")
_LONGEST_HEADER = 2**16  # bytes of an extended header; `tarfile` would take as much as the header claims
# tarfile answers damaged headers with any of these.
_DAMAGE = (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError, TypeError, struct.error)
_KINDS = {suffix[1:].encode(): 0 for suffix in IMAGE_SUFFIXES} | {b"txt": 1, b"json": 2}


# Plain tuples: a million samples make three million of each, and naming their parts takes time.
_Header = tuple[int, int, int, bytes]  # where it begins, with any extended header before it; its data; bytes of that; itself
_Member = tuple[
    bytes, int, int, int
]  # a regular file: its name, where its headers begin, where its data begins, bytes of that


class _NotPlain(Exception):
    """A header that this file does not parse."""


class _Problems:
    """What an index leaves out: how often, and where first."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str) -> None:
        count, first = self.found.get(what, (0, where))
        self.found[what] = (count + 1, first)

    def messages(self) -> list[str]:
        return [f"{count} {what}, first {where}" for what, (count, where) in self.found.items()]


# -- index files


def index_path(folder: Path, version: str) -> Path:
    """Where the index of a shard with a `fingerprint` is kept."""
    return folder / "index" / f"{version}-{_LAYOUT}.npy"


def stored_count(index: Path) -> int | None:
    """Samples in an index, from its header; None where it is not there or not whole."""
    try:
        with index.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            whole = file.tell() + ROW.itemsize * shape[0] == os.fstat(file.fileno()).st_size
    except (FileNotFoundError, ValueError, LookupError):
        return None
    return int(shape[0]) if whole and dtype == ROW else None


def index_shards(paths: Sequence[str], cache: ShardCache) -> tuple[list[str], list[int]]:
    """Each shard's fingerprint and number of samples; builds the indexes that are missing.

    Raises FileNotFoundError where a shard is gone, and ValueError for one that is empty or no tar.
    """
    with ThreadPoolExecutor(16) as threads:  # file systems take long to answer
        versions = list(threads.map(fingerprint, paths))
        indexes = [index_path(cache.folder, version) for version in versions]
        counts = list(threads.map(stored_count, indexes))
    missing = [place for place, count in enumerate(counts) if count is None]
    jobs = [(paths[place], versions[place]) for place in missing]
    for place, (count, problems) in zip(missing, _built(jobs, cache), strict=True):
        counts[place] = count
        for problem in problems:
            log.warning("%s: %s", paths[place], problem)
    return versions, [count or 0 for count in counts]


def _built(jobs: Sequence[tuple[str, str]], cache: ShardCache) -> Iterator[tuple[int, list[str]]]:
    """The result of `_build` for each job, in order."""
    build = functools.partial(_build, cache)
    remote = any(is_remote(path) for path, _ in jobs)
    workers = min(len(jobs), 16, max(os.cpu_count() or 1, 8 if remote else 1))  # downloads wait more than they compute
    if workers < 2 or multiprocessing.current_process().daemon:
        yield from _with_progress(map(build, jobs), len(jobs))
        return
    with _pool(workers) as pool:
        yield from _with_progress(pool.map(build, jobs), len(jobs))


def _pool(workers: int) -> Executor:
    # Parsing holds the interpreter: threads gain nothing. Elsewhere than on Linux, a new process would import the program
    # that called us once more, which fails unless that is guarded by __main__.
    if sys.platform == "linux":
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    return ThreadPoolExecutor(workers)


def _with_progress(results: Iterable[tuple[int, list[str]]], total: int) -> Iterator[tuple[int, list[str]]]:
    """The results; a line about them on a terminal once they have taken two seconds."""
    start, progress = time.monotonic(), Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task("indexing shards", total=total)
    with contextlib.ExitStack() as shown:
        for result in results:
            if not progress.live.is_started and progress.console.is_terminal and time.monotonic() - start > 2:
                shown.enter_context(progress)
            progress.advance(task)
            yield result


def _build(cache: ShardCache, job: tuple[str, str]) -> tuple[int, list[str]]:
    """Write the index of a shard; how many samples it holds and what it leaves out."""
    path, version = job
    descriptor = cache.open(path, version)
    try:
        rows, problems = _rows_of(descriptor, path)
    finally:
        os.close(descriptor)
    with write_whole(index_path(cache.folder, version)) as part, part.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    return len(rows), problems


# -- members into samples


def _rows_of(descriptor: int, path: str) -> tuple[np.ndarray, list[str]]:
    """Row[samples] of an open shard, and what is not among them."""
    size = os.fstat(descriptor).st_size
    if size < BLOCK or size > BLOCK * _LARGEST:
        raise ValueError(f"{path}: {'empty' if not size else 'not a tar'}: {size} bytes")
    readers: tuple[Callable[[int, int, _Problems], Iterator[_Member]], ...] = (_plain_members, _all_members)
    for members in readers:
        problems = _Problems()
        with contextlib.suppress(_NotPlain):
            rows = np.fromiter(_samples(members(descriptor, size, problems), problems), dtype=ROW)
            return rows, problems.messages()
    raise ValueError(f"{path}: not an uncompressed tar, or its first header is damaged")


def _samples(members: Iterable[_Member], problems: _Problems) -> Iterator[tuple[int, ...]]:
    """`ROW` values of each run of members with one base name, by WebDataset's rule: all before the file name's first dot."""
    base, row = None, [0] * 7
    for name, headers, data, size in members:
        start = name.rfind(b"/") + 1
        dot = name.find(b".", start)
        if dot <= start:  # no dot, or a hidden file
            continue
        if name[:dot] != base:
            if base is not None:
                yield from _sample(base, row, problems)
            base, row = name[:dot], [0] * 7
        kind = _KINDS.get(name[dot + 1 :].lower())
        if kind is not None and not row[2 * kind]:  # the first of each kind counts
            row[2 * kind : 2 * kind + 2] = data // BLOCK, min(size, _LARGEST)
            if kind == 0:
                row[6] = min((data - headers) // BLOCK, 255)
    if base is not None:
        yield from _sample(base, row, problems)


def _sample(base: bytes, row: list[int], problems: _Problems) -> Iterator[tuple[int, ...]]:
    if row[0]:
        yield tuple(row)
    else:
        problems.add("samples without an image", base.decode(errors="replace"))


# -- headers into members


def _plain_members(descriptor: int, size: int, problems: _Problems) -> Iterator[_Member]:
    """The files of a shard whose headers are all plain. Raises `_NotPlain` at the first that is not, or is damaged."""
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
    """Reads by place and size that ask the system for a little more, as small members stand side by side."""
    window, window_start = b"", 0

    def read(place: int, size: int) -> bytes:
        nonlocal window, window_start
        at = place - window_start
        if at + size > len(window):
            window, window_start, at = os.pread(descriptor, max(size, _WINDOW), place), place, 0
        return window[at : at + size]

    return read


def _length(block: bytes) -> int:
    """Bytes of data that follow a header; a folder has none, whatever its header says."""
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
    """Refuse headers whose sum is not what they say, or whose name says more than that of a file."""
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
    """A name of up to 255 bytes, kept in two fields that end at their first zero."""
    if b"\0" in name:
        name = name[: name.index(b"\0")]
    if not prefix:
        return name
    prefix = prefix.partition(b"\0")[0]
    return prefix + b"/" + name if prefix else name


def _padded(size: int) -> int:
    return (size + BLOCK - 1) & -BLOCK


def _note_ending(descriptor: int, place: int, size: int, problems: _Problems) -> None:
    """Look at what stands where the headers stop: it should be an end mark, with nothing after it."""
    rest = os.pread(descriptor, 2**20, min(place, size))
    if place >= size or len(rest) < BLOCK:
        problems.add("missing end marks", f"at byte {size}, where the shard may be cut off")
    elif rest[:BLOCK] != _ZEROS:
        problems.add("damaged headers", f"at byte {place}; the {size - place} bytes from there on are not read")
    elif rest.strip(b"\0"):
        problems.add("archives joined to the first", f"behind byte {place}; only the first is read")


class _Bounded(io.FileIO):
    """A file that `tarfile` cannot be led to read into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size) or b""


def _all_members(descriptor: int, size: int, problems: _Problems) -> Iterator[_Member]:
    """The files of any tar, by `tarfile`. Raises `_NotPlain` where not even the first header is one."""
    place = 0
    try:
        with _Bounded(descriptor, closefd=False) as file, _opened(file) as tar:
            while (found := tar.next()) is not None:
                if found.size < 0 or tar.offset <= place:  # or it would be read for ever
                    raise tarfile.ReadError("a header that points back")
                place = tar.offset
                if found.isreg() and not found.issparse() and found.offset_data + found.size <= size:
                    yield found.name.encode(errors="surrogateescape"), found.offset, found.offset_data, found.size
                elif found.isreg() and not found.issparse():
                    problems.add("cut-off members", f"at byte {found.offset}")
                    break
                elif not found.isdir():
                    problems.add("links, sparse or special files", found.name)
    except _DAMAGE as error:
        if place == 0:
            raise _NotPlain from error
    _note_ending(descriptor, place, size, problems)


def _opened(file: io.FileIO | io.BytesIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")


def member_name(headers: bytes) -> str:
    """The name of a member by its header blocks, of which the last is the plain one."""
    if len(headers) > BLOCK:
        with contextlib.suppress(*_DAMAGE), _opened(io.BytesIO(headers)) as tar:
            return tar.next().name  # type: ignore[union-attr]
    block = headers[-BLOCK:]
    return _joined(block[345:500], block[:100].rstrip(b"\0")).decode(errors="replace")
