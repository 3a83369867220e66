"""Arranging: a talk and the images of its record -> a dialogue, or the reason why there is none.

In: messages in any order and images. Out: a `Dialogue`: user and assistant in turn, with a mark for each image.

As in LLaVA's code, a first message of the assistant is dropped, and a single mark moves to the front of its question.
Several marks stay where they are. Pairs of questions and answers without marks, and captions, get the marks of all their
images in front of the first question. An unanswered question at the end has nothing to learn and is dropped, unless it has
an image. An empty system message is dropped too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from genlip.data.dialogues.dialogue import IMAGE_MARK, Dialogue, Message
from genlip.data.dialogues.fields import Form, Talk
from genlip.data.examples import ImageLike, Unusable

__all__ = ["arranged"]


def arranged(key: str, images: Sequence[ImageLike], talk: Talk) -> Dialogue:
    """The dialogue of a talk. Raises `Unusable` with the key where messages and images do not make one."""
    try:
        messages = _marked(_ordered(talk.messages), len(images), talk.form)
    except Unusable as error:  # without the key
        raise Unusable(error.reason, f"{key}: {error}") from None
    return Dialogue(key, tuple(images), messages)


def _ordered(messages: Sequence[Message]) -> list[Message]:
    """At most one system message, then user and assistant in turn, ending with an answer."""
    numbered = list(enumerate(messages, start=1))
    system = [message for message in messages[:1] if message.role == "system" and message.text]
    if late := [number for number, message in numbered if message.role == "system" and number > 1]:
        raise Unusable("system message not first", f"message {late[0]} is of the system; it may only be the first")
    rest = [entry for entry in numbered if entry[1].role != "system"]
    for (first, one), (second, other) in pairwise(rest):
        if one.role == other.role:
            raise Unusable("two messages of one role", f"messages {first} and {second} are both of the {one.role}")
    return system + [message for _, message in _answered(rest)]


def _answered(rest: list[tuple[int, Message]]) -> list[tuple[int, Message]]:
    """Messages, with their numbers, from the first question to the last answer."""
    if rest and rest[0][1].role == "assistant":
        rest = rest[1:]
    if rest and rest[-1][1].role == "user":
        if IMAGE_MARK in rest[-1][1].text:
            raise Unusable("no answer", "no answer of the assistant to its last question, which has an image")
        rest = rest[:-1]
    if not rest:
        raise Unusable("no answer", "no answer of the assistant to a question")
    if empty := [number for number, message in rest if message.role == "assistant" and not message.text]:
        raise Unusable("empty answer", f"message {empty[0]}, of the assistant, is empty")
    return rest


def _marked(messages: list[Message], images: int, form: Form) -> tuple[Message, ...]:
    """The messages with a mark for each image."""
    if form == "caption" and not images:
        raise Unusable("no image", "a caption without an image")
    marks = sum(message.text.count(IMAGE_MARK) for message in messages)
    if form != "marked" and not marks:
        return tuple(_in_front(messages, 0, images))
    if marks != images:
        reason = "image without a mark" if marks < images else "mark without an image"
        raise Unusable(reason, f"images: {images}, {IMAGE_MARK} marks: {marks}; need one mark for each image")
    for place, (role, text) in enumerate(messages):
        if IMAGE_MARK in text and role != "user":
            raise Unusable(
                "mark outside of questions", f"an {IMAGE_MARK} mark in a message of the {role}; need it in questions"
            )
        if IMAGE_MARK in text and marks == 1:
            messages = _in_front(messages, place, 1)
    return tuple(messages)


def _in_front(messages: Sequence[Message], place: int, images: int) -> list[Message]:
    """The messages with the marks of images in front of the first question from a place on, and nowhere else in it."""
    place = next(number for number in range(place, len(messages)) if messages[number].role == "user")
    text = messages[place].text.replace(IMAGE_MARK, "").strip()
    marked = Message("user", "\n".join([*[IMAGE_MARK] * images, *[text] * bool(text)]))
    return [*messages[:place], marked, *messages[place + 1 :]]
