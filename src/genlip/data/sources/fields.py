"""Caption fields: which entries of a record hold a caption, and how often each is read.

In: a record, as a JSON object, a row of a table or the text members of a tar give it. Out: its `Caption`.
An entry may be a text, a list of texts (each as likely as the others), or a published conversation
`[{"from": "human", "value": "<image>\\n…"}, {"from": "gpt", "value": "…"}]`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genlip.data.examples import Caption, Choice, Conversation, Turn, Unusable

__all__ = ["KNOWN_FIELDS", "CaptionFields"]

log = logging.getLogger(__name__)

KNOWN_FIELDS = ("caption", "text", "txt", "description", "title", "re_caption", "conversations", "messages", "captions")
IMAGE_MARK = "<image>"
_LEARNED = {"gpt": True, "assistant": True, "human": False, "user": False}


@dataclass(frozen=True)
class CaptionFields:
    """The fields that hold captions, each with its chance to be read.

    Attributes:
        chances: field and weight, such as {"re_caption": 0.8, "org_caption": 0.2}; fields that a record lacks leave
            their chance to the others. Empty takes the first of `KNOWN_FIELDS` that a collection has.
    """

    chances: Mapping[str, float]

    def __post_init__(self) -> None:
        if any(not 0 < chance < math.inf for chance in self.chances.values()):
            raise ValueError(f"caption fields {dict(self.chances)}: every chance must be above 0, and finite")

    @classmethod
    def parse(cls, text: str) -> CaptionFields:
        """From "re_caption=0.8,org_caption=0.2"; a field without a number counts 1."""
        chances: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            field, equals, chance = (piece.strip() for piece in part.partition("="))
            if not field or field in chances:
                raise ValueError(f"caption fields {text!r}: {field!r} is {'named twice' if field else 'no name'}")
            try:
                chances[field] = float(chance) if equals else 1.0
            except ValueError:
                raise ValueError(f"caption fields {text!r}: {chance!r} is no number; write field=0.8,other=0.2") from None
        return cls(chances)

    def among(self, found: Iterable[str], where: str) -> CaptionFields:
        """These fields, known to be among those `found`; if none was named, the first known one."""
        names = list(found)
        if not self.chances:
            for name in KNOWN_FIELDS:
                if name in names:
                    return CaptionFields({name: 1.0})
        elif set(self.chances) & set(names):
            if absent := [field for field in self.chances if field not in names]:
                log.warning("%s: no %s among its first fields, %s", where, " and no ".join(absent), ", ".join(names))
            return self
        wanted = ", ".join(self.chances or KNOWN_FIELDS)
        raise ValueError(f"{where}: no captions among {', '.join(names) or 'no fields'}; need one of {wanted}")

    def read(self, record: Mapping[str, Any]) -> Caption:
        """The caption of a record; "" where it has none. Raises `Unusable` for a conversation about several images."""
        found: list[tuple[str, str | Conversation, float]] = []
        for field, chance in self.chances.items():
            captions = _captions(record.get(field))
            found += [(field, caption, chance / len(captions)) for caption in captions]
        if not found:
            return ""
        if len(found) == len(self.chances) == 1:
            return found[0][1]
        total = sum(chance for *_, chance in found)
        fields, texts, chances = zip(*((field, text, chance / total) for field, text, chance in found), strict=True)
        return Choice(texts, chances, fields)


def _captions(entry: Any) -> list[str | Conversation]:
    """All captions in one entry of a record; what is neither text nor a conversation holds none."""
    if isinstance(entry, str):
        return [_sound(entry).strip()] if entry.strip() else []
    if not isinstance(entry, (list, tuple)):
        return []
    if entry and isinstance(entry[0], Mapping):
        turns = _turns(entry)
        return [turns] if any(turn.learned and turn.text for turn in turns) else []
    return [caption for item in entry if isinstance(item, str) for caption in _captions(item)]


def _turns(messages: Sequence[Any]) -> Conversation:
    """A conversation, its `<image>` mark taken out: the image always comes first."""
    turns, images = [], 0
    for message in messages:
        if not isinstance(message, Mapping):
            raise Unusable("not a conversation", f"found {type(message).__name__} among the messages of a conversation")
        who, text = message.get("from", message.get("role")), message.get("value", message.get("content"))
        if who == "system":
            continue
        if not isinstance(who, str) or who not in _LEARNED or not isinstance(text, str):
            raise Unusable(
                "not a conversation", f"message from {who!r} with {type(text).__name__}; need human or gpt, and text"
            )
        images += text.count(IMAGE_MARK)
        turns.append(Turn(_sound(text).replace(IMAGE_MARK, "").strip(), _LEARNED[who]))
    if images > 1:
        raise Unusable("several images", f"a conversation about {images} images; a sample holds one")
    return tuple(turns)


def _sound(text: str) -> str:
    """A text that can be written as UTF-8; JSON can hold halves of characters, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("damaged", f"a caption that is no text: {error}") from None
    return text
