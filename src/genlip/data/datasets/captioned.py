"""Captioned: a labelled set as a source for training; captions contain the class in words.

In: a labelled set and templates such as "a photo of {a}.". Out: a source whose captions are a choice among the templates
with equal probabilities, filled with the class name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from genlip.data.datasets.base import LabelledSet
from genlip.data.datasets.templates import fill
from genlip.data.examples import Choice, Example, short_repr
from genlip.data.sources.base import Source

__all__ = ["Captioned", "captioned"]


@runtime_checkable
class _Labels(Protocol):
    """A set that gives a label without reading the image."""

    def label(self, index: int, /) -> int: ...


@dataclass(frozen=True, eq=False, repr=False)
class Captioned:
    """Images of a labelled set; see `captioned`.

    Attributes:
        labelled: the set.
        captions: of each class.
    """

    labelled: LabelledSet
    captions: tuple[Choice, ...]

    @property
    def name(self) -> str:
        """The set's."""
        return self.labelled.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, index: int) -> Example:
        found = self.labelled[index]
        return Example(found.key, found.image, self.captions[found.label])

    def caption(self, index: int) -> Choice:
        """The caption alone."""
        known = self.labelled
        return self.captions[known.label(index) if isinstance(known, _Labels) else known[index].label]


def captioned(labelled: LabelledSet, templates: Sequence[str]) -> Source:
    """A source of the set's images, each with a caption from one of the templates; see
    `genlip.data.datasets.templates.fill`.

    Raises ValueError without templates, or for one without a place for the name.
    """
    if isinstance(templates, str) or not templates:
        raise ValueError(f"templates {templates!r}: need a list of one or more, such as ['a photo of {{a}}.']")
    chances = (1 / len(templates),) * len(templates)
    choices = [Choice(tuple(fill(template, name) for template in templates), chances) for name in labelled.classes]
    return Captioned(labelled, tuple(choices))
