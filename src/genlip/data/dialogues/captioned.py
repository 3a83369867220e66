"""Captioned: images with captions as dialogues.

In: a `Source`. Out: a `DialogueSource`: the user shows the image, the assistant says the caption; conversations stay as they
are, with the image in front of the first question.
"""

from __future__ import annotations

from dataclasses import dataclass

from genlip.data.dialogues.arranging import arranged
from genlip.data.dialogues.dialogue import Dialogue
from genlip.data.dialogues.fields import talk_of
from genlip.data.examples import Unusable, pick, short_repr
from genlip.data.sources.base import Source

__all__ = ["Captioned"]


@dataclass(frozen=True, repr=False)
class Captioned:
    """Examples of a source as dialogues. Of several captions, one is taken by its probability, always the same for an
    index."""

    source: Source

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Dialogue:
        key, image, caption = self.source[index]
        chosen = pick(caption, 0, 0, int(index))
        if not chosen:
            raise Unusable("no conversation", f"{key}: no conversation and no caption")
        return arranged(key, [image], talk_of(chosen))
