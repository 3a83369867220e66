"""Procedural sources: captioned images that are drawn when they are asked for, as many as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image

from genlip.data.examples import Example
from genlip.data.synthetic import scenes

__all__ = ["KINDS", "Kind", "Procedural"]


class Kind(NamedTuple):
    """How a kind of image is made: the lots of image (seed, index), its drawing, and its caption."""

    content: Callable[[int, int], Any]
    draw: Callable[[Any], Image.Image]
    describe: Callable[[Any], str]


KINDS = {
    "scenes": Kind(scenes.scene, scenes.draw, scenes.describe),
}


@dataclass(frozen=True)
class Procedural:
    """Images of one of `KINDS`; example i is a function of (kind, seed, i)."""

    kind: str
    seed: int = 0
    length: int = 1_000_000

    @property
    def name(self) -> str:
        """As `open_source` reads it."""
        return f"{self.kind}:{self.seed}"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        kind, content = KINDS[self.kind], self._content(index)
        return Example(f"{self.name}:{index}", kind.draw(content), kind.describe(content))

    def caption(self, index: int) -> str:
        """The caption alone."""
        return KINDS[self.kind].describe(self._content(index))

    def _content(self, index: int) -> Any:
        if not 0 <= index < self.length:  # also what ends a `for` over them
            raise IndexError(f"{self.name}: image {index} of {self.length}")
        return KINDS[self.kind].content(self.seed, index)
