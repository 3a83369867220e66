"""Spoken captions: what a model says about examples of a source, beside their true captions.

In: a speaker, a source, and which of its examples. Out: true and spoken captions side by side, in order. An image that
cannot be used is skipped and named in the log: one damaged file must not end a measurement.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from genlip.data.examples import Caption, Choice, Example, ImageLike, Unusable, plain_text
from genlip.data.images import Patches
from genlip.data.sources import Source
from genlip.speaker import Speaker

__all__ = ["Spoken", "references", "speak_about", "spoken_captions"]

log = logging.getLogger(__name__)


class Spoken(NamedTuple):
    """One captioned image and what the model said about it."""

    key: str
    image: ImageLike
    caption: str
    spoken: str

    @property
    def exact(self) -> bool:
        """Whether both captions are the same text; white space around them does not count."""
        return self.caption.strip() == self.spoken.strip()


def spoken_captions(
    speaker: Speaker,
    source: Source,
    indices: Sequence[int],
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
    **decoding: Any,
) -> list[Spoken]:
    """Caption these examples, in order; an image that cannot be used is skipped and named in the log.

    batch_size images captioned together
    advance   hears of finished examples, skipped ones included
    decoding  fields of `Decoding`; the default is greedy
    """
    spoken: list[Spoken] = []
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        told = [one for one in speak_about(speaker, source, chosen, **decoding) if not isinstance(one, Unusable)]
        spoken += [Spoken(example.key, example.image, plain_text(example.caption), text) for example, text in told]
        advance(len(chosen))
    return spoken


def speak_about(
    speaker: Speaker, source: Source, indices: Sequence[int], captioned: bool = False, **decoding: Any
) -> list[tuple[Example, str] | Unusable]:
    """For each of these examples, all captioned together, itself and what was said; or why it cannot be used, logged too.

    captioned  an example without a true caption cannot be used
    """
    looked = [_look(source, int(index), speaker, captioned) for index in indices]
    images = [image for _, image in (one for one in looked if not isinstance(one, Unusable))]
    texts = iter(speaker.caption(images, len(indices), **decoding))
    return [one if isinstance(one, Unusable) else (one[0], next(texts)) for one in looked]


def references(caption: Caption) -> list[str]:
    """The true captions of an image: of a choice all, of a conversation what an assistant says. Empty ones are left out."""
    some = caption.captions if isinstance(caption, Choice) else (caption,)
    texts = [one if isinstance(one, str) else "\n".join(turn.text for turn in one if turn.learned) for one in some]
    return [text for text in dict.fromkeys(texts) if text.strip()]


def _look(source: Source, index: int, speaker: Speaker, captioned: bool) -> tuple[Example, Patches] | Unusable:
    try:
        example = source[index]
        if captioned and not references(example.caption):
            raise Unusable("no caption", f"{example.key}: no caption")
        return example, speaker.prepare(example.image)
    except Unusable as error:
        log.warning("skipped %s", error)
        return error
