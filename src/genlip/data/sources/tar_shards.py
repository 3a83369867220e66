"""Tar shards: what the sources of tar shards share: the place of a sample, its bytes and its texts.

In: the shards of a source and the numbers of samples in them. Out: bytes and JSON of a shard's members.
Memory holds paths and counts; the location of each sample is read from the shards' indexes on disk. Each process keeps a few
shards open.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Self

import numpy as np

from genlip.data.examples import Unusable, short_repr
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.open_files import LOCAL, REMOTE
from genlip.data.sources.paths import is_remote
from genlip.data.sources.tar_index import BLOCK, CAPTIONED, Layout, index_path, index_shards, member_name
from genlip.model.files import printable
from genlip.model.reading import parse_json

__all__ = ["TEXT", "Shards", "base_name"]

TEXT = "txt"  # field name of the text member
_MAX_IMAGE_BYTES = 2**29
_MAX_TEXT_BYTES = 2**24


class _Descriptor:
    """An open file, closed when nothing refers to it any more: another thread may still read a file dropped from the
    pool."""

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self, size: int, block: int) -> bytes:
        """Up to `size` bytes from a block on, fewer at the end.

        A method, so that the file stays open until they are read.
        """
        return os.pread(self.number, size, block * BLOCK)

    def __del__(self) -> None:
        os.close(self.number)


class Shards:
    """Tar shards whose samples have numbers. A subclass reads samples, from indexes of its `layout`.

    Attributes:
        name: in counters and messages.
        notes: lines about what was left out.
    """

    layout: Layout = CAPTIONED

    def __init__(
        self,
        paths: Sequence[str],
        versions: Sequence[str],
        lengths: Sequence[int],
        name: str,
        cache: ShardCache,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.notes = printable(name), list(notes)
        self._paths, self._versions, self._cache = list(paths), list(versions), cache
        self._ends = np.cumsum(lengths, dtype=np.int64)  # number of samples up to the end of each shard

    @classmethod
    def indexed(cls, paths: Sequence[str], name: str, cache: ShardCache | None, what: str, members: str) -> Self:
        """The samples of shards, before their fields are chosen.

        what, members  name them, and such members, in the error where there are none

        Raises FileNotFoundError for a missing shard; ValueError for one that is not a tar, or if there are no samples.
        """
        cache = cache or ShardCache.default()
        versions, lengths, notes = index_shards(paths, cache, cls.layout)
        shards = cls(paths, versions, lengths, name, cache, notes)
        if not len(shards):
            raise ValueError(
                f"{shards.name}: no {what} in {len(paths)} shards; need members such as {members}"
                + "".join(f"; {note}" for note in notes)
            )
        return shards

    __repr__ = short_repr

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def located(self, index: int) -> tuple[int, int]:
        """The shard of a sample, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, int(index) - (int(self._ends[shard - 1]) if shard else 0)

    def index_of(self, shard: int) -> Any:
        """Path of the index of a shard."""
        return index_path(self._cache.folder, self._versions[shard], self.layout)

    def shard_name(self, shard: int) -> str:
        """The file name of a shard, for keys."""
        return printable(PurePosixPath(self._paths[shard]).name)

    def read(self, shard: int, block: int, size: int) -> bytes:
        """Up to `size` bytes of a shard from a block on, fewer at its end."""
        path, version = self._paths[shard], self._versions[shard]
        pool = REMOTE if is_remote(path) else LOCAL
        descriptor = pool.get(self, shard, lambda: _Descriptor(self._cache.open(path, version)))
        return descriptor.read(size, block)

    # -- members of a sample; `place` has its shard, and a subclass knows its key

    def key_of(self, place: Any) -> str:
        """The sample's name in messages."""
        raise NotImplementedError

    def image_bytes(self, place: Any, block: int, headers: int, size: int) -> bytes:
        """The header blocks and the data of an image that starts at a block, `size` bytes of it. Raises `Unusable`."""
        if size > _MAX_IMAGE_BYTES:
            raise Unusable("too large", f"{self.key_of(place)}: {size} bytes; the limit is {_MAX_IMAGE_BYTES}")
        return self.whole(place, block - headers, headers * BLOCK + size)

    def whole(self, place: Any, block: int, size: int) -> bytes:
        """All `size` bytes from a block on. Raises `Unusable`."""
        data = self.read(place.shard, block, size)
        if len(data) < size:
            raise Unusable("damaged", f"{self.key_of(place)}: the shard was cut off after it was indexed")
        return data

    def text(self, place: Any, block: int, size: int) -> str:
        """A text member. Raises `Unusable`."""
        if size > _MAX_TEXT_BYTES:
            raise Unusable("damaged", f"{self.key_of(place)}: {size} bytes of text; the limit is {_MAX_TEXT_BYTES}")
        try:
            return self.whole(place, block, size).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unusable("damaged", f"{self.key_of(place)}: not UTF-8 text: {error}") from None

    def json(self, place: Any, block: int, size: int) -> Any:
        """The value of a JSON member. Raises `Unusable`."""
        text = self.text(place, block, size)
        try:
            return parse_json(text)
        except ValueError as error:
            raise Unusable("damaged", f"{self.key_of(place)}: {error}") from None

    def entries(self, place: Any, block: int, size: int) -> dict[str, Any]:
        """The object in a JSON member. Raises `Unusable`."""
        found = self.json(place, block, size)
        if not isinstance(found, dict):
            raise Unusable("damaged", f"{self.key_of(place)}: its JSON is {type(found).__name__}, need an object")
        return found


def base_name(headers: bytes) -> str:
    """The name of a member without its suffix, from its header blocks."""
    return member_name(headers).rpartition(".")[0]
