"""Tar shards: a source of WebDataset tars, as img2dataset writes them, with random access and without unpacking.

In: shards, local or remote. Out: the `Source` of their samples, in the order of the shards. Only the members of a sample
that its caption needs are read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from genlip.data.examples import Caption, Example, Unusable
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.tar_index import BLOCK, index_row
from genlip.data.sources.tar_shards import TEXT, Shards, base_name

__all__ = ["TarShards"]

log = logging.getLogger(__name__)

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


class TarShards(Shards):
    """Samples of tar shards.

    Attributes:
        fields: of the captions.
    """

    fields = CaptionFields({TEXT: 1.0})

    @classmethod
    def open(cls, paths: Sequence[str], fields: CaptionFields, name: str, cache: ShardCache | None = None) -> TarShards:
        """The samples of shards.

        fields  of captions: "txt" is the text member, any other name an entry of the JSON member. Empty takes the text
                members if there are any, else the first known entry
        cache   of remote shards and all indexes; default: that of the user

        Raises FileNotFoundError for a missing shard; ValueError for one that is not a tar, or if there are no samples.
        """
        shards = cls.indexed(paths, name, cache, "samples with an image", "1.jpg and 1.txt")
        shards.fields = shards._decided(fields)
        for note in shards.notes:
            log.warning("%s: %s", shards.name, note)
        return shards

    def __getitem__(self, index: int) -> Example:
        place = self._place(index)
        start = place.headers * BLOCK  # offset of the image in the bytes that are read
        data = self.image_bytes(place, place.image, place.headers, place.image_bytes)
        return Example(f"{self.shard_name(place.shard)}:{base_name(data[:start])}", data[start:], self._caption(place))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        return self._caption(self._place(index))

    # -- one sample

    def _place(self, index: int) -> _Place:
        shard, number = self.located(index)
        return _Place(shard, number, *index_row(self.index_of(shard), number))

    def _caption(self, place: _Place) -> Caption:
        record = self._record(place)
        try:
            return self.fields.read(record)
        except Unusable as error:  # without the key of the example
            raise Unusable(error.reason, f"{self.key_of(place)}: {error}") from None

    def _record(self, place: _Place) -> dict[str, Any]:
        """The record of captions: the entries of the JSON member, if any is needed, and the text."""
        record: dict[str, Any] = {}
        if place.json and (self.fields.chances.keys() - {TEXT} or not place.text):
            record = self._entries(place)
        if place.text and TEXT in self.fields.chances:
            record[TEXT] = self.text(place, place.text, place.text_bytes)
        return record

    def _entries(self, place: _Place) -> dict[str, Any]:
        return self.entries(place, place.json, place.json_bytes)

    def key_of(self, place: _Place) -> str:
        """The sample's name in messages, from the header of the image; its number if that cannot be read."""
        shard = self.shard_name(place.shard)
        headers = self.read(place.shard, place.image - place.headers, place.headers * BLOCK)
        whole = len(headers) == place.headers * BLOCK
        return f"{shard}:{base_name(headers)}" if whole else f"{shard}: sample {place.number}"

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
