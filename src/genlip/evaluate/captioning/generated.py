"""Generated captions: what a model says about examples of a source, beside their true captions.

In: a speaker, a source, and which of its examples. Out: true and generated captions side by side, in order. An image that
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

__all__ = ["GeneratedCaption", "generate_captions", "references", "speak_about"]

log = logging.getLogger(__name__)


class GeneratedCaption(NamedTuple):
    """An image's true caption and the generated one.

    Attributes:
        key: name of the image.
        image: the image; None where thousands of captions are gathered and images are not kept.
        caption: the true caption, or the first of several.
        spoken: the generated caption.
        references: all true captions; empty where `caption` is the only one.
        number: of the example in its source, from 0; -1 where it is not known.
    """

    key: str
    image: ImageLike | None
    caption: str
    spoken: str
    references: Sequence[str] = ()
    number: int = -1

    @property
    def kept_image(self) -> ImageLike:
        """The image. Raises ValueError where it was not kept."""
        if self.image is None:
            raise ValueError(f"{self.key}: its caption was stored without the image: read it from the source again")
        return self.image

    @property
    def exact(self) -> bool:
        """Whether the generated caption equals a true one; white space around them does not count."""
        return self.spoken.strip() in {text.strip() for text in (self.caption, *self.references)}


def generate_captions(
    speaker: Speaker,
    source: Source,
    indices: Sequence[int],
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
    **decoding: Any,
) -> list[GeneratedCaption]:
    """Caption these examples, in order; an image that cannot be used is skipped and named in the log.

    batch_size images captioned together
    advance   is called with the number of newly finished examples, skipped ones included
    decoding  fields of `Decoding`; the default is greedy decoding without `repetition_stop`
    """
    found: list[GeneratedCaption] = []
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        for one in speak_about(speaker, source, chosen, **{"repetition_stop": 0, **decoding}):
            if not isinstance(one, Unusable):
                example, text = one
                found.append(GeneratedCaption(example.key, example.image, plain_text(example.caption), text))
        advance(len(chosen))
    return found


def speak_about(
    speaker: Speaker, source: Source, indices: Sequence[int], captioned: bool = False, **decoding: Any
) -> list[tuple[Example, str] | Unusable]:
    """For each of these examples, itself and its generated caption, all in one batch; or why it cannot be used, logged too.

    captioned  an example without a true caption cannot be used
    """
    examples = [_prepared(source, int(index), speaker, captioned) for index in indices]
    images = [image for _, image in (one for one in examples if not isinstance(one, Unusable))]
    texts = iter(speaker.caption(images, len(indices), **decoding))
    return [one if isinstance(one, Unusable) else (one[0], next(texts)) for one in examples]


def references(caption: Caption) -> list[str]:
    """The true captions of an image: of a choice all, of a conversation what an assistant says. Empty ones are left out."""
    some = caption.captions if isinstance(caption, Choice) else (caption,)
    texts = [one if isinstance(one, str) else "\n".join(turn.text for turn in one if turn.learned) for one in some]
    return [text for text in dict.fromkeys(texts) if text.strip()]


def _prepared(source: Source, index: int, speaker: Speaker, captioned: bool) -> tuple[Example, Patches] | Unusable:
    try:
        example = source[index]
        if captioned and not references(example.caption):
            raise Unusable("no caption", f"{example.key}: no caption")
        return example, speaker.prepare(example.image)
    except Unusable as error:
        log.warning("skipped %s", error)
        return error
