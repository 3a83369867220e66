"""Dialogue fields: the entries of a record that hold its conversation, or a caption.

In: a record: a JSON object, a row of a table, or the text members of a tar sample. Out: its `Talk`, in which the marks of
images are not checked yet. Conversations have the published forms of `genlip.data.sources.conversations`, also as JSON in a
text. A question and its answer may also be two fields of the record itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from genlip.data.dialogues.dialogue import Message
from genlip.data.examples import Conversation, Unusable, pick_place
from genlip.data.sources.conversations import (
    IMAGE_MARK,
    PAIRS,
    ROLES,
    Picture,
    content_parts,
    is_message,
    is_pair,
    said,
    sound_text,
    stored_messages,
)
from genlip.data.sources.fields import CaptionFields

__all__ = ["KNOWN_FIELDS", "DialogueFields", "Form", "Talk", "talk_of"]

Form = Literal["marked", "pairs", "caption"]

_ANSWERS = dict(PAIRS)
KNOWN_FIELDS = (
    "conversations", "messages", "conversation", "texts", "txt", "caption", "text", "description", "title", "re_caption",
    "captions", "question", "user", "human",
)  # fmt: skip


class Talk(NamedTuple):
    """What a record says.

    Attributes:
        messages: in their order.
        form: "marked" has a mark for each image; "pairs" of questions and answers may have none; a "caption" has none.
        places: what the parts of messages say of the places of their images.
    """

    messages: tuple[Message, ...]
    form: Form
    places: tuple[Any, ...] = ()


@dataclass(frozen=True)
class DialogueFields:
    """The fields that hold conversations or captions, each with its probability.

    Attributes:
        captions: fields and probabilities as `CaptionFields` has them; empty takes the first of `KNOWN_FIELDS` that the
            source has, conversations before captions.
    """

    captions: CaptionFields = field(default_factory=lambda: CaptionFields({}))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields of a record that are read; "question" needs "answer" too."""
        names = [one for name in self.captions.chances for one in (name, _ANSWERS.get(name)) if one]
        return tuple(dict.fromkeys(names))

    def among(self, found: Iterable[str], where: str) -> DialogueFields:
        """These fields, if any of them is among those `found`; if none are named, the first known one. Raises ValueError."""
        names = list(found)
        halves = {asks for asks, answers in PAIRS if answers not in names}
        known = [name for name in KNOWN_FIELDS if name not in halves]
        return DialogueFields(self.captions.among(names, where, known, "conversations or captions"))

    def read(self, record: Mapping[str, Any], index: int) -> Talk:
        """The talk of a record. Of several, one is taken by its probability, always the same for an index.

        Raises `Unusable`.
        """
        talks, chances = list[Talk](), list[float]()
        for name, chance in self.captions.chances.items():
            held = list(_talks(_entry(record, name)))
            talks += held
            chances += [chance / len(held) for _ in held]
        if not talks:
            raise Unusable("no conversation", f"no conversation and no caption in {', '.join(self.captions.chances)}")
        if len(talks) == 1:
            return talks[0]
        total = sum(chances)
        return talks[pick_place([chance / total for chance in chances], 0, 0, index)]


def talk_of(caption: str | Conversation) -> Talk:
    """The talk of a caption, or of a conversation about the image of a captioned source."""
    if isinstance(caption, str):
        return _captioned(caption)
    messages = [Message("assistant" if turn.learned else "user", _clean(turn.text)) for turn in caption]
    return Talk((*[Message("user", "")] * caption[0].learned, *messages), "pairs")


def _entry(record: Mapping[str, Any], name: str) -> Any:
    answers = _ANSWERS.get(name, "")
    return {name: record[name], answers: record[answers]} if name in record and answers in record else record.get(name)


def _talks(entry: Any) -> Iterator[Talk]:
    """All conversations and captions in one entry of a record."""
    if isinstance(entry, str):
        if (messages := stored_messages(entry)) is not None:
            yield from _talks(messages)
        elif entry.strip():
            yield _captioned(entry)
        return
    if is_message(entry):
        entry = [entry]
    if not isinstance(entry, (list, tuple)):
        return
    if entry and isinstance(entry[0], Mapping):
        yield _conversation(entry)
        return
    for item in entry:
        if isinstance(item, str) or (isinstance(item, list) and any(map(is_message, item))):
            yield from _talks(item)


def _captioned(caption: str) -> Talk:
    return Talk((Message("user", ""), Message("assistant", _clean(caption))), "caption")


def _conversation(entry: Sequence[Any]) -> Talk:
    messages, places = list[Message](), list[Any]()
    for who, content in (one for message in entry for one in said(message)):
        role, parts = ROLES.get(who.lower()) if isinstance(who, str) else None, content_parts(content)
        number = len(messages) + 1
        if role is None:
            raise Unusable(
                "unknown role", f"message {number} is from {who!r}; need human or user, gpt or assistant, or system"
            )
        if parts is None:
            raise Unusable(
                "not a conversation", f"message {number}, of the {role}, holds {type(content).__name__}; need text or images"
            )
        places += [part.place for part in parts if isinstance(part, Picture)]
        messages.append(Message(role, _clean("\n".join(IMAGE_MARK if isinstance(one, Picture) else one for one in parts))))
    return Talk(tuple(messages), "pairs" if all(map(is_pair, entry)) else "marked", tuple(places))


def _clean(text: str) -> str:
    """A text without space around it and without carriage returns."""
    return sound_text(text).replace("\r\n", "\n").replace("\r", "\n").strip()
