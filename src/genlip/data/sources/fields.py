"""Caption fields: the entries of a record that hold captions, and the probability of each.

In: a record: a JSON object, a row of a table, or the text members of a tar sample. Out: its `Caption`.
An entry may be a text, a list of texts with equal probabilities, or a conversation in one of these published forms, also as
JSON in a text:

    [{"from": "human", "value": "<image>\\n…"}, {"from": "gpt", "value": "…"}]
    [{"role": "user", "content": "…"}, {"role": "assistant", "content": [{"type": "text", "text": "…"}]}]
    [{"user": "…", "assistant": "…"}, …]
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genlip.data.examples import Caption, Choice, Conversation, Turn, Unusable
from genlip.model.fields import shown

__all__ = ["IMAGE_MARK", "KNOWN_FIELDS", "PAIRS", "CaptionFields"]

log = logging.getLogger(__name__)

KNOWN_FIELDS = (
    "caption", "text", "txt", "description", "title", "re_caption", "conversations", "messages", "captions", "texts",
    "conversation",
)  # fmt: skip
IMAGE_MARK = "<image>"
_LEARNED = {"gpt": True, "assistant": True, "model": True, "human": False, "user": False}
PAIRS = (("user", "assistant"), ("human", "gpt"), ("question", "answer"))  # a question and its answer in one object
_WRAPPERS = ("conversations", "messages", "texts", "conversation")  # keys under which an object holds its conversation


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

    def among(self, found: Iterable[str], where: str) -> CaptionFields:
        """These fields, if any of them is among those `found`; if none are named, the first known one. Raises ValueError."""
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
        there = f"no captions among {', '.join(names)}" if names else "no captions, and no field that could hold any"
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
        if (messages := _stored_messages(entry)) is not None:
            return _captions(messages)
        return [_sound(entry).strip()] if entry.strip() else []
    if _is_message(entry):
        entry = [entry]
    if not isinstance(entry, (list, tuple)):
        return []
    if entry and isinstance(entry[0], Mapping):
        turns = _turns(entry)
        return [turns] if any(turn.learned and turn.text for turn in turns) else []
    several = [item for item in entry if isinstance(item, str) or (isinstance(item, list) and any(map(_is_message, item)))]
    return [caption for item in several for caption in _captions(item)]


def _stored_messages(text: str) -> list[Any] | None:
    """The messages of a text that is a conversation in JSON; None for all other texts."""
    if text.lstrip("\ufeff \t\r\n")[:1] not in ("[", "{"):
        return None
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        return None  # a caption that begins with a bracket
    if isinstance(stored, dict):
        stored = next((stored[name] for name in _WRAPPERS if isinstance(stored.get(name), list)), [stored])
    talks = [stored] if isinstance(stored, list) and stored and isinstance(stored[0], dict) else stored
    sound = isinstance(talks, list) and talks and all(isinstance(talk, list) and talk for talk in talks)
    return stored if sound and all(_is_message(message) for talk in talks for message in talk) else None


def _is_message(entry: Any) -> bool:
    """Whether an object has the keys of a message, or of a question with its answer."""
    keys = entry.keys() if isinstance(entry, Mapping) else set()
    return any({*form} <= keys for form in (("from", "value"), ("role", "content"), *PAIRS))


def _turns(messages: Sequence[Any]) -> Conversation:
    """A conversation without its `<image>` mark: the image always comes first."""
    turns, images = [], 0
    for message in messages:
        for who, content in _said(message):
            learned = _LEARNED.get(who.lower()) if isinstance(who, str) else None
            text, pictured = _content(content)
            if learned is None or text is None:
                raise Unusable(
                    "not a conversation", f"message from {who!r} with {type(content).__name__}; need human or gpt, and text"
                )
            images += pictured + text.count(IMAGE_MARK)
            turns.append(Turn(_sound(text).replace(IMAGE_MARK, "").strip(), learned))
    if images > 1:
        raise Unusable("several images", f"a conversation about {images} images; a sample holds one")
    return tuple(turns)


def _said(message: Any) -> list[tuple[Any, Any]]:
    """(role, content) of one message, or of a question and its answer; nothing for a system message."""
    if not isinstance(message, Mapping):
        raise Unusable("not a conversation", f"found {type(message).__name__} among the messages of a conversation")
    for asks, answers in PAIRS:
        if asks in message and answers in message:
            return [("user", message[asks]), ("assistant", message[answers])]
    # A table of messages has every column in every row, with None for missing values.
    who = message.get("from") if message.get("from") is not None else message.get("role")
    content = message.get("value") if message.get("value") is not None else message.get("content")
    return [] if who == "system" else [(who, content)]


def _content(content: Any) -> tuple[str | None, int]:
    """The text of a message, which may consist of parts, and the number of its images; None if it contains anything else."""
    if isinstance(content, str):
        return content, 0
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, (list, tuple)):
        return None, 0
    texts, images = [], 0
    for part in parts:
        kind, text = (part.get("type"), part.get("text")) if isinstance(part, Mapping) else ("", None)
        if kind in ("image", "image_url"):
            images += 1
        elif kind in ("text", None) and isinstance(text, str):
            texts.append(text)
        else:
            return None, 0
    return "\n".join(texts), images


def _sound(text: str) -> str:
    """The text. Raises `Unusable` for lone surrogates, which JSON can contain and UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("damaged", f"a caption that is not valid text: {error}") from None
    return text
