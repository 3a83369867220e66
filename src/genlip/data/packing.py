"""Packing: examples of a source -> samples -> one pack.

In: a source and the indices of a batch. Out: a `Batch`: the pack, the keys of its samples, and what was skipped and why.
Samples are put in order of shape, since attention takes neighbours of equal shape in one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genlip.data.captions import Captions
from genlip.data.images import ImageConfig, ImageError, ImageLike, image_patches
from genlip.data.sources import Source
from genlip.model.config import GenLIPConfig
from genlip.model.pack import Pack, Sample

__all__ = ["Batch", "Packer", "Skipped", "by_shape", "pack_images"]


class Skipped(NamedTuple):
    """An example that could not be used: its key, the reason that counters group by, and the whole message."""

    key: str
    reason: str
    message: str


@dataclass(frozen=True)
class Batch:
    """A pack and where it came from.

    Attributes:
        pack: the samples that could be used; None if there was not one.
        keys: their keys, in the pack's order.
        skipped: the examples that could not be used.
    """

    pack: Pack | None
    keys: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Packer:
    """Turns examples of a source into batches for a model."""

    source: Source
    images: ImageConfig
    captions: Captions
    model: GenLIPConfig

    def batch(self, indices: Iterable[int]) -> Batch:
        """The batch of these examples, sorted by shape. Images that cannot be used are skipped and named."""
        skipped: list[Skipped] = []
        keyed = list(self._keyed(indices, skipped))
        if not keyed:
            return Batch(None, (), tuple(skipped))
        keyed = [keyed[i] for i in by_shape([sample for _, sample in keyed])]
        return Batch(Pack.of([sample for _, sample in keyed]), tuple(key for key, _ in keyed), tuple(skipped))

    def samples(self, indices: Iterable[int], skipped: list[Skipped]) -> Iterator[Sample]:
        """The usable samples among these examples, in order; the others are added to `skipped`."""
        return (sample for _, sample in self._keyed(indices, skipped))

    def _keyed(self, indices: Iterable[int], skipped: list[Skipped]) -> Iterator[tuple[str, Sample]]:
        for index in indices:
            example = self.source[int(index)]
            try:
                patches, grid = image_patches(example.image, self.images, self.model)
            except ImageError as error:
                skipped.append(Skipped(example.key, error.reason, str(error)))
                continue
            yield example.key, Sample(patches, grid, *self.captions.encode(example.caption))


def by_shape(samples: Sequence[Sample]) -> list[int]:
    """The order in which samples of one shape are neighbours."""
    return sorted(range(len(samples)), key=lambda i: (len(samples[i].patches), len(samples[i].token_ids)))


def pack_images(
    images: Sequence[ImageLike], config: ImageConfig, model: GenLIPConfig, prompt_ids: Sequence[int] = ()
) -> Pack:
    """Images in the order given, each with the prompt as its text: what generation and encoding read."""
    samples = [Sample(*image_patches(image, config, model)) for image in images]
    return Pack.of([s.with_text(prompt_ids, [False] * len(prompt_ids)) for s in samples])
