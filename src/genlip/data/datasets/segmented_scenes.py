"""Segmented scenes: drawn scenes with the class of each pixel and the words of each object.

In: a seed. Out: a `SegmentedSet` or a `NamedSet`; image i and its key are those of the source "scenes:SEED". So a seed that
was not used for training is held out here too.
"""

from __future__ import annotations

from dataclasses import dataclass

from genlip.data.datasets.base import Segmented
from genlip.data.datasets.regions import Named, Object
from genlip.data.examples import short_repr
from genlip.data.sources.procedural import Procedural
from genlip.synthetic import scenes

__all__ = ["NamedScenes", "SegmentedScenes"]


@dataclass(frozen=True, repr=False)
class SegmentedScenes:
    """Scenes with the class of each pixel, an index of `scenes.REGIONS`."""

    source: Procedural

    @property
    def name(self) -> str:
        """As the user named it."""
        return self.source.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Background, the kinds of shapes, and the number."""
        return scenes.REGIONS

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Segmented:
        key, image, _ = self.source[index]
        return Segmented(key, image, scenes.label_map(scenes.scene(self.source.seed, index)))


@dataclass(frozen=True, repr=False)
class NamedScenes:
    """Scenes with their objects: shapes by colour and kind, the number by its digits."""

    source: Procedural

    @property
    def name(self) -> str:
        """As the user named it."""
        return self.source.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Named:
        key, image, _ = self.source[index]
        found = scenes.objects(scenes.scene(self.source.seed, index))
        return Named(key, image, tuple(Object(*one) for one in found))
