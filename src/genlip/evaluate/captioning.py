"""Captioning: what a model says about images, and how often it says exactly the true caption.

In: a speaker and examples of a source. Out: true and spoken captions side by side, and the share that agrees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from genlip.data.examples import ImageLike, Unusable, plain_text
from genlip.data.images import decode
from genlip.data.sources import Source
from genlip.speaker import Speaker

__all__ = ["Spoken", "exact_match", "spoken_captions"]

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
    batch: int = 64,
    advance: Callable[[int], None] = lambda done: None,
    **decoding: Any,
) -> list[Spoken]:
    """Caption these examples, in order; an image that cannot be used is skipped and named in the log.

    batch     images captioned together
    advance   hears of finished examples, skipped ones included
    decoding  fields of `Decoding`; the default is greedy
    """
    spoken: list[Spoken] = []
    for start in range(0, len(indices), batch):
        chosen = indices[start : start + batch]
        spoken += _speak(speaker, source, chosen, decoding)
        advance(len(chosen))
    return spoken


def exact_match(spoken: Sequence[Spoken]) -> float:
    """The share of captions, in [0, 1], that are exactly the true ones. Raises ValueError if there are none."""
    if not spoken:
        raise ValueError("0 captions: exact match needs at least 1 image that can be used")
    return sum(one.exact for one in spoken) / len(spoken)


def _speak(speaker: Speaker, source: Source, indices: Sequence[int], decoding: dict[str, Any]) -> list[Spoken]:
    examples, images = [], []
    for index in indices:
        try:
            example = source[int(index)]
            images.append(decode(example.image, speaker.images.max_pixels))
        except Unusable as error:
            log.warning("skipped %s", error)
            continue
        examples.append(example)
    texts = speaker.caption(images, len(indices), **decoding)
    told = zip(examples, texts, strict=True)
    return [Spoken(example.key, example.image, plain_text(example.caption), text) for example, text in told]
