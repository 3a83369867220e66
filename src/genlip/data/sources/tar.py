"""Tar shards: a source of WebDataset tars, as img2dataset writes them, with random access and without unpacking.

In: shards, local or remote. Out: the `Source` of their samples, in the order of the shards.
Memory holds paths and counts; the location of each sample is read from the shards' indexes on disk. Each process keeps a few
shards open. Only the members of a sample that its caption needs are read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from genlip.data.examples import Caption, Example, Unusable, short_repr
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.open_files import LOCAL, REMOTE
from genlip.data.sources.paths import is_remote
from genlip.data.sources.tar_index import BLOCK, index_path, index_row, index_shards, member_name
from genlip.model.files import printable
from genlip.model.reading import parse_json

__all__ = ["TarShards"]

log = logging.getLogger(__name__)

TEXT = "txt"  # field name of the text member
_MAX_IMAGE_BYTES = 2**29
_MAX_TEXT_BYTES = 2**24
_PROBED = 16  # first samples, which show the fields of a source


class _Place(NamedTuple):
    """Location of a sample: its shard and number in it, then a row of the shard's index."""

    shard: int
    number: int
    image: int
    image_bytes: int
    text: int
    text_bytes: int
    json: int
    json_bytes: int
    headers: int


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


class TarShards:
    """Samples of tar shards.

    Attributes:
        name: in counters and messages.
        notes: lines about what was left out.
        fields: of the captions.
    """

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
        self.fields = CaptionFields({TEXT: 1.0})
        self._paths, self._versions, self._cache = list(paths), list(versions), cache
        self._ends = np.cumsum(lengths, dtype=np.int64)  # number of samples up to the end of each shard

    @classmethod
    def open(cls, paths: Sequence[str], fields: CaptionFields, name: str, cache: ShardCache | None = None) -> TarShards:
        """The samples of shards.

        fields  of captions: "txt" is the text member, any other name an entry of the JSON member. Empty takes the text
                members if there are any, else the first known entry
        cache   of remote shards and all indexes; default: that of the user

        Raises FileNotFoundError for a missing shard; ValueError for one that is not a tar, or if there are no samples.
        """
        cache = cache or ShardCache.default()
        versions, lengths, notes = index_shards(paths, cache)
        shards = cls(paths, versions, lengths, name, cache, notes)
        if not len(shards):
            raise ValueError(
                f"{shards.name}: no samples with an image in {len(paths)} shards; need members such as 1.jpg and 1.txt"
                + "".join(f"; {note}" for note in notes)
            )
        shards.fields = shards._decided(fields)
        for note in notes:
            log.warning("%s: %s", shards.name, note)
        return shards

    __repr__ = short_repr

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Example:
        place = self._place(index)
        shard = printable(PurePosixPath(self._paths[place.shard]).name)
        if place.image_bytes > _MAX_IMAGE_BYTES:
            raise Unusable("too large", f"{self._key(place)}: {place.image_bytes} bytes; the limit is {_MAX_IMAGE_BYTES}")
        start = place.headers * BLOCK  # offset of the image in the bytes that are read
        data = self._bytes(place, place.image - place.headers, start + place.image_bytes)
        return Example(f"{shard}:{_base(data[:start])}", data[start:], self._caption(place))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        return self._caption(self._place(index))

    def _descriptor(self, shard: int) -> _Descriptor:
        path, version = self._paths[shard], self._versions[shard]
        pool = REMOTE if is_remote(path) else LOCAL
        return pool.get(self, shard, lambda: _Descriptor(self._cache.open(path, version)))

    # -- one sample

    def _place(self, index: int) -> _Place:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        number = int(index) - (int(self._ends[shard - 1]) if shard else 0)
        return _Place(shard, number, *index_row(index_path(self._cache.folder, self._versions[shard]), number))

    def _bytes(self, place: _Place, block: int, size: int) -> bytes:
        data = self._descriptor(place.shard).read(size, block)
        if len(data) < size:
            raise Unusable("damaged", f"{self._key(place)}: the shard was cut off after it was indexed")
        return data

    def _caption(self, place: _Place) -> Caption:
        record = self._record(place)
        try:
            return self.fields.read(record)
        except Unusable as error:  # without the key of the example
            raise Unusable(error.reason, f"{self._key(place)}: {error}") from None

    def _record(self, place: _Place) -> dict[str, Any]:
        """The record of captions: the entries of the JSON member, if any is needed, and the text."""
        record: dict[str, Any] = {}
        if place.json and (self.fields.chances.keys() - {TEXT} or not place.text):
            record = self._entries(place)
        if place.text and TEXT in self.fields.chances:
            record[TEXT] = self._text(place, place.text, place.text_bytes)
        return record

    def _entries(self, place: _Place) -> dict[str, Any]:
        text = self._text(place, place.json, place.json_bytes)
        try:
            entries = parse_json(text)
        except ValueError as error:
            raise Unusable("damaged", f"{self._key(place)}: {error}") from None
        if not isinstance(entries, dict):
            raise Unusable("damaged", f"{self._key(place)}: its JSON is {type(entries).__name__}, need an object")
        return entries

    def _text(self, place: _Place, block: int, size: int) -> str:
        if size > _MAX_TEXT_BYTES:
            raise Unusable("damaged", f"{self._key(place)}: {size} bytes of text; the limit is {_MAX_TEXT_BYTES}")
        try:
            return self._bytes(place, block, size).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unusable("damaged", f"{self._key(place)}: not UTF-8 text: {error}") from None

    def _key(self, place: _Place) -> str:
        """The sample's name in messages, from the header of the image; its number if that cannot be read."""
        shard = printable(PurePosixPath(self._paths[place.shard]).name)
        headers = self._descriptor(place.shard).read(place.headers * BLOCK, place.image - place.headers)
        whole = len(headers) == place.headers * BLOCK
        return f"{shard}:{_base(headers)}" if whole else f"{shard}: sample {place.number}"

    # -- which fields to read

    def _decided(self, fields: CaptionFields) -> CaptionFields:
        """The given fields, if the first samples have any of them; if none are given, chosen by the first samples."""
        found = dict.fromkeys(name for index in range(min(len(self), _PROBED)) for name in self._names(self._place(index)))
        if not fields.chances and TEXT in found:
            return CaptionFields({TEXT: 1.0})
        return fields.among(found, "; ".join([self.name, *self.notes]))

    def _names(self, place: _Place) -> list[str]:
        names = [TEXT] if place.text else []
        try:
            return [*names, *self._entries(place)] if place.json else names
        except Unusable:
            return names  # raised and counted when the sample is read


def _base(headers: bytes) -> str:
    return member_name(headers).rpartition(".")[0]
