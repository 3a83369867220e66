"""Caption fields: the entries of a record that hold captions, and the probability of each.

In: a record: a JSON object, a row of a table, or the text members of a tar sample. Out: its `Caption`.
An entry may be a text, a list of texts with equal probabilities, or a conversation in a published form
(`genlip.data.sources.conversations`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genlip.data.examples import Caption, Choice, Conversation, Turn, Unusable
from genlip.data.sources.conversations import (
    IMAGE_MARK,
    ROLES,
    Picture,
    content_parts,
    is_message,
    said,
    sound_text,
    stored_messages,
)
from genlip.model.fields import shown

__all__ = ["KNOWN_FIELDS", "CaptionFields"]

log = logging.getLogger(__name__)

KNOWN_FIELDS = (
    "caption", "text", "txt", "description", "title", "re_caption", "conversations", "messages", "captions", "texts",
    "conversation",
)  # fmt: skip


@dataclass(frozen=True)
class CaptionFields:
    """The fields that hold captions, each with its probability.

    Attributes:
        chances: field and weight, such as {"re_caption": 0.8, "org_caption": 0.2}; if a record
            lacks fields, the others share their probability. Empty takes the first of `KNOWN_FIELDS` that the source has.
    """

    chances: Mapping[str, float]

    def __post_init__(self) -> None:
        if any(not 0 < chance < math.inf for chance in self.chances.values()):
            raise ValueError(f"caption fields {dict(self.chances)}: every weight must be above 0 and finite")

    @classmethod
    def parse(cls, text: str) -> CaptionFields:
        """From "re_caption=0.8,org_caption=0.2"; a field without a number has weight 1. Raises ValueError."""
        chances: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            field, equals, chance = (piece.strip() for piece in part.partition("="))
            if not field or field in chances:
                raise ValueError(f"caption fields {shown(text)}: {shown(field)} is {'named twice' if field else 'no name'}")
            try:
                chances[field] = float(chance) if equals else 1.0
            except ValueError:
                raise ValueError(
                    f"caption fields {shown(text)}: {shown(chance)} is not a number; write field=0.8,other=0.2"
                ) from None
        return cls(chances)

    def among(
        self, found: Iterable[str], where: str, known: Sequence[str] = KNOWN_FIELDS, what: str = "captions"
    ) -> CaptionFields:
        """These fields, if any of them is among those `found`; if none are named, the first known one. Raises ValueError."""
        names = list(found)
        if not self.chances:
            for name in known:
                if name in names:
                    return CaptionFields({name: 1.0})
        elif set(self.chances) & set(names):
            if absent := [field for field in self.chances if field not in names]:
                log.warning("%s: no %s among its first fields, %s", where, " and no ".join(absent), ", ".join(names))
            return self
        wanted = ", ".join(self.chances or known)
        there = f"no {what} among {', '.join(names)}" if names else f"no {what}, and no field that could hold any"
        raise ValueError(f"{where}: {there}; need one of {wanted}")

    def read_or_reason(self, record: Mapping[str, Any]) -> Caption | Unusable:
        """The caption of a record, or the reason why it cannot be used, which is raised and counted when the example is
        read."""
        try:
            return self.read(record)
        except Unusable as error:
            return error.with_traceback(None)

    def read(self, record: Mapping[str, Any]) -> Caption:
        """The caption of a record; "" if it has none. Raises `Unusable` for a conversation about several images."""
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
    """All captions in one entry of a record; none if it is neither text nor a conversation."""
    if isinstance(entry, str):
        if (messages := stored_messages(entry)) is not None:
            return _captions(messages)
        return [sound_text(entry).strip()] if entry.strip() else []
    if is_message(entry):
        entry = [entry]
    if not isinstance(entry, (list, tuple)):
        return []
    if entry and isinstance(entry[0], Mapping):
        turns = _turns(entry)
        return [turns] if any(turn.learned and turn.text for turn in turns) else []
    several = [item for item in entry if isinstance(item, str) or (isinstance(item, list) and any(map(is_message, item)))]
    return [caption for item in several for caption in _captions(item)]


def _turns(messages: Sequence[Any]) -> Conversation:
    """A conversation without its `<image>` mark: the image always comes first."""
    turns, images = [], 0
    for message in messages:
        for who, content in said(message):
            if who == "system":
                continue
            role = ROLES.get(who.lower()) if isinstance(who, str) else None
            parts = content_parts(content)
            if role in (None, "system") or parts is None:
                raise Unusable(
                    "not a conversation", f"message from {who!r} with {type(content).__name__}; need human or gpt, and text"
                )
            text = "\n".join(part for part in parts if isinstance(part, str))
            images += sum(isinstance(part, Picture) for part in parts) + text.count(IMAGE_MARK)
            turns.append(Turn(sound_text(text).replace(IMAGE_MARK, "").strip(), role == "assistant"))
    if images > 1:
        raise Unusable("several images", f"a conversation about {images} images; a sample holds one")
    return tuple(turns)
