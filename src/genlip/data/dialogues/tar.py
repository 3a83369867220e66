"""Tar shards: a source of dialogues in WebDataset tars, with random access and without unpacking.

In: shards, local or remote. Out: the `DialogueSource` of their samples, in the order of the shards.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from genlip.data.dialogues.arranging import arranged
from genlip.data.dialogues.dialogue import Dialogue
from genlip.data.dialogues.fields import DialogueFields
from genlip.data.dialogues.tar_samples import DIALOGUES, MEMBER, SPAN
from genlip.data.examples import Unusable
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.conversations import is_message
from genlip.data.sources.tar_index import BLOCK, index_rows
from genlip.data.sources.tar_shards import TEXT, Shards, base_name

__all__ = ["TarDialogues"]

log = logging.getLogger(__name__)

_PROBED = 16  # first samples, which show the fields of a source


class _Part(NamedTuple):
    """A member of a sample: first block of its data, its bytes, the number of its header blocks."""

    data: int
    size: int
    headers: int


class _Place(NamedTuple):
    """Location of a sample: its shard and number in it, and its members by kind: images, texts, JSON."""

    shard: int
    number: int
    images: list[_Part]
    text: list[_Part]
    json: list[_Part]


class TarDialogues(Shards):
    """Dialogues in tar shards: the members of a sample are a .json with its conversation, or a .txt with a caption, and any
    number of images.

    Attributes:
        fields: "txt" is the text member, any other name an entry of the JSON member.
    """

    layout = DIALOGUES
    fields = DialogueFields()

    @classmethod
    def open(cls, paths: Sequence[str], fields: DialogueFields, name: str, cache: ShardCache | None = None) -> TarDialogues:
        """The samples of shards.

        Raises FileNotFoundError for a missing shard; ValueError for one that is not a tar, or if there are no samples.
        """
        shards = cls.indexed(paths, name, cache, "samples", "1.jpg and 1.json")
        probed = (shards._names(shards._place(index)) for index in range(min(len(shards), _PROBED)))
        found = dict.fromkeys(one for names in probed for one in names)
        shards.fields = fields.among(found, "; ".join([shards.name, *shards.notes]))
        for note in shards.notes:
            log.warning("%s: %s", shards.name, note)
        return shards

    def __getitem__(self, index: int) -> Dialogue:
        place = self._place(index)
        key, record = self.key_of(place), self._record(place)
        try:
            talk = self.fields.read(record, int(index))
        except Unusable as error:  # without the key
            raise Unusable(error.reason, f"{key}: {error}") from None
        return arranged(key, [self._image(place, image) for image in place.images], talk)

    def key_of(self, place: _Place) -> str:
        """The sample's name in messages, from the header of its text; its number if that cannot be read."""
        shard, (data, _, headers) = self.shard_name(place.shard), (place.json + place.text)[0]
        read = self.read(place.shard, data - headers, headers * BLOCK)
        whole = len(read) == headers * BLOCK
        return f"{shard}:{base_name(read)}" if whole else f"{shard}: sample {place.number}"

    def _place(self, index: int) -> _Place:
        shard, number = self.located(index)
        path = self.index_of(shard)
        first, count = index_rows(path, SPAN, number)[0].item()
        rows = index_rows(path.with_suffix(".members.npy"), MEMBER, first, count).tolist()
        images, text, json = ([_Part(*part) for kind, *part in rows if kind == wanted] for wanted in range(3))
        return _Place(shard, number, images, text, json)

    def _image(self, place: _Place, image: _Part) -> bytes:
        return self.image_bytes(place, image.data, image.headers, image.size)[image.headers * BLOCK :]

    def _record(self, place: _Place) -> dict[str, Any]:
        """The entries of the JSON member, and the text."""
        record = self._entries(place) if place.json else {}
        if place.text and TEXT in self.fields.names:
            record[TEXT] = self.text(place, place.text[0].data, place.text[0].size)
        return record

    def _entries(self, place: _Place) -> dict[str, Any]:
        """The object in the JSON member; a conversation without an object around it is its "conversations"."""
        found = self.json(place, place.json[0].data, place.json[0].size)
        if isinstance(found, list) and found and all(map(is_message, found)):
            return {"conversations": found}
        if not isinstance(found, dict):
            raise Unusable("damaged", f"{self.key_of(place)}: its JSON is {type(found).__name__}, need an object")
        return found

    def _names(self, place: _Place) -> list[str]:
        names = [TEXT] if place.text else []
        try:
            return [*names, *self._entries(place)] if place.json else names
        except Unusable:
            return names  # raised and counted when the sample is read
