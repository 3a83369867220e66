"""Conversations: the published forms of messages about images, in an entry of a record.

In: an entry: a list of messages in one of these forms, also as JSON in a text. Out: who says what, and where images are.

    [{"from": "human", "value": "<image>\\n…"}, {"from": "gpt", "value": "…"}]
    [{"role": "user", "content": "…"}, {"role": "assistant", "content": [{"type": "text", "text": "…"}]}]
    [{"user": "…", "assistant": "…"}, …]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from genlip.data.examples import Unusable

__all__ = [
    "IMAGE_MARK", "PAIRS", "ROLES", "Picture", "Role", "content_parts", "is_message", "is_pair", "said", "sound_text",
    "stored_messages",
]  # fmt: skip

Role = Literal["system", "user", "assistant"]

IMAGE_MARK = "<image>"
PAIRS = (("user", "assistant"), ("human", "gpt"), ("question", "answer"))  # a question and its answer in one object
ROLES: Mapping[str, Role] = {
    "gpt": "assistant", "assistant": "assistant", "model": "assistant", "human": "user", "user": "user", "system": "system",
}  # fmt: skip
_WRAPPERS = ("conversations", "messages", "texts", "conversation")  # keys under which an object holds its conversation


class Picture(NamedTuple):
    """An image among the parts of a message, and what the part says of its place: a path or URL; None if nothing."""

    place: Any


def stored_messages(text: str) -> list[Any] | None:
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
    return stored if sound and all(is_message(message) for talk in talks for message in talk) else None


def is_message(entry: Any) -> bool:
    """Whether an object has the keys of a message, or of a question with its answer."""
    keys = entry.keys() if isinstance(entry, Mapping) else set()
    return any({*form} <= keys for form in (("from", "value"), ("role", "content"), *PAIRS))


def is_pair(message: Any) -> bool:
    """Whether an object is a question with its answer."""
    return isinstance(message, Mapping) and any(asks in message and answers in message for asks, answers in PAIRS)


def said(message: Any) -> list[tuple[Any, Any]]:
    """(role, content) of one message, or of a question and its answer. Raises `Unusable`."""
    if not isinstance(message, Mapping):
        raise Unusable("not a conversation", f"found {type(message).__name__} among the messages of a conversation")
    for asks, answers in PAIRS:
        if asks in message and answers in message:
            return [("user", message[asks]), ("assistant", message[answers])]
    # A table of messages has every column in every row, with None for missing values.
    who = message.get("from") if message.get("from") is not None else message.get("role")
    content = message.get("value") if message.get("value") is not None else message.get("content")
    return [(who, content)]


def content_parts(content: Any) -> list[str | Picture] | None:
    """The texts and images of a message in their order; None if it contains anything else."""
    if isinstance(content, str):
        return [content]
    found: list[str | Picture] = []
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, (list, tuple)):
        return None
    for part in parts:
        kind, text = (part.get("type"), part.get("text")) if isinstance(part, Mapping) else ("", None)
        if kind in ("image", "image_url"):
            found.append(Picture(_place(part)))
        elif kind in ("text", None) and isinstance(text, str):
            found.append(text)
        else:
            return None
    return found


def _place(part: Mapping[str, Any]) -> Any:
    """What a part says of the place of its image: a path, a URL, or an object with one."""
    for key in ("image", "image_url", "path", "url"):
        held = part.get(key)
        if isinstance(held, Mapping):
            held = held.get("path") or held.get("url")
        if held:
            return held
    return None


def sound_text(text: str) -> str:
    """The text. Raises `Unusable` for lone surrogates, which JSON can contain and UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("damaged", f"a caption that is not valid text: {error}") from None
    return text
