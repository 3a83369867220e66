"""Dialogue: one sample of a multimodal LLM, before decoding and tokenization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from genlip.data.examples import ImageLike
from genlip.data.sources.conversations import IMAGE_MARK, Role

__all__ = ["IMAGE_MARK", "Dialogue", "DialogueSource", "Message", "Role"]


class Message(NamedTuple):
    """One message. `text` has `IMAGE_MARK` ("<image>") at each place where an image is read."""

    role: Role
    text: str


@dataclass(frozen=True)
class Dialogue:
    """Messages and their images.

    Attributes:
        key: names it in messages.
        images: in the order of their marks; empty for text alone.
        messages: at most one of the system, first; then user and assistant in turn. All texts together hold as many marks
            as there are images.
    """

    key: str
    images: tuple[ImageLike, ...]
    messages: tuple[Message, ...]


class DialogueSource(Protocol):
    """Dialogues with a length and random access; the same index always gives the same dialogue.

    Several processes read a source at once: it must work after pickling and after a fork.
    """

    @property
    def name(self) -> str:
        """Its name in counters and messages."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Dialogue:
        """The dialogue. Raises `Unusable` if it cannot be read; other errors stop the run."""
        ...
