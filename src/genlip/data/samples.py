"""Samples: examples of a source -> what a model reads, or the reason why not.

In: draws of the run's order. Out: for each draw a `ReadSample`, or a `Skipped` with the reason; nothing is dropped silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from genlip.data.captions import Captions
from genlip.data.examples import Caption, Conversation, Unusable, pick, pick_line, plain_text, several_lines
from genlip.data.images import ImageConfig, Patches, prepare_image
from genlip.data.order import Draw
from genlip.data.sources.base import Source
from genlip.data.sources.mixture import locate
from genlip.model.config import GenLIPConfig
from genlip.model.files import one_line
from genlip.model.pack import Pack, Sample

__all__ = ["Packable", "Packed", "ReadSample", "Reader", "SampleReader", "Skipped", "spread_indices", "spread_samples"]


class Packable(Protocol):
    """One sample, as packing handles it; `Sample` is that of images with captions."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes by which the samples of a pack are sorted."""

    @property
    def num_rows(self) -> int:
        """Rows that it fills in a pack."""


class Packed(Protocol):
    """Several samples as the model reads them; `Pack` is that of images with captions."""

    @property
    def num_samples(self) -> int:
        """Number of samples."""

    @property
    def num_rows(self) -> int:
        """Rows that they fill."""

    def to(self, device: torch.device | str) -> Packed:
        """The same on another device."""

    def pin_memory(self) -> Packed:
        """The same in page-locked memory."""


class Skipped(NamedTuple):
    """An example that could not be used: its key, the reason (the key of counters), the full message, and its source."""

    key: str
    reason: str
    message: str
    source: str = ""


class ReadSample(NamedTuple):
    """A sample, the key of its example, the name of its source, and whether the image's shape could not be kept.

    The sample is `Packable`: a `Sample`, or what the reader of another task makes.
    """

    key: str
    sample: Any
    source: str
    squeezed: bool

    @property
    def size(self) -> int:
        """Rows that it fills in a pack: its patches and its text."""
        return self.sample.num_rows


class Reader(Protocol):
    """Turns the examples of a source into samples, and samples into packs. Workers receive it pickled."""

    @property
    def source(self) -> Any:
        """What is read: a `Source`, or for the reader of another task, its own `Indexed` examples."""

    @property
    def seed(self) -> int:
        """Of the order, and of choices among captions."""

    def limited(self, max_tokens: int) -> Reader:
        """The same reader for packs of so many rows: it gives no larger sample."""

    def read(self, draws: Sequence[Draw], max_patches: Sequence[int] = ()) -> list[ReadSample | Skipped]:
        """One entry for each draw, in order; `max_patches`, where given and not 0, limit the patches of an image."""

    def some(self, number: int) -> tuple[list[Any], list[Skipped]]:
        """So many usable samples, taken evenly from the whole source, and what was passed over."""

    def pack(self, samples: Sequence[Any]) -> Packed:
        """The samples in the order given, as the model reads them."""


def spread_samples(reader: Reader, number: int) -> tuple[list[Any], list[Skipped]]:
    """Up to so many usable samples, spread evenly over the reader's source, and the skipped ones."""
    skipped: list[Skipped] = []
    draws = (Draw(0, index) for index in spread_indices(len(reader.source), number))
    return list(islice(_usable(reader, draws, skipped), number)), skipped


def spread_indices(length: int, number: int) -> Iterator[int]:
    """Every index of a source of this length once; the first `number` of them lie evenly all over it."""
    step = max(1, length // max(1, number))
    return (index for first in range(step) for index in range(first, length, step))


def _usable(reader: Reader, draws: Iterator[Draw], skipped: list[Skipped]) -> Iterator[Any]:
    while some := list(islice(draws, 16)):
        for one in reader.read(some):
            if isinstance(one, Skipped):
                skipped.append(one)
            else:
                yield one.sample


class _Decoded(NamedTuple):
    key: str
    image: Patches
    caption: str | Conversation
    source: str


@dataclass(frozen=True)
class SampleReader:
    """Reads the samples of a source for a model.

    Attributes:
        source: the examples.
        image_config, captions: how images and captions are prepared.
        model_config: of the model that reads the samples.
        seed: of the choice among several captions of an image.
        max_tokens: rows of a pack; text that does not fit after the patches is cut. A sample without room for any
            text is skipped. None sets no limit.
    """

    source: Source
    image_config: ImageConfig
    captions: Captions
    model_config: GenLIPConfig
    seed: int = 0
    max_tokens: int | None = None

    def limited(self, max_tokens: int) -> SampleReader:
        """The same reader for packs of so many rows."""
        return dataclasses.replace(self, max_tokens=max_tokens)

    def pack(self, samples: Sequence[Sample]) -> Pack:
        """The samples in the order given, in one flat buffer."""
        return Pack.of(samples)

    def read(self, draws: Sequence[Draw], max_patches: Sequence[int] = ()) -> list[ReadSample | Skipped]:
        """One entry for each draw, in order; `max_patches`, where given and not 0, replace that of the image settings."""
        budgets = max_patches or [0] * len(draws)
        decoded = [self._decode(draw, _with_budget(self.image_config, n)) for draw, n in zip(draws, budgets, strict=True)]
        texts = iter(self.captions.encode_all([one.caption for one in decoded if isinstance(one, _Decoded)]))
        return [one if isinstance(one, Skipped) else self._finish(one, *next(texts)) for one in decoded]

    def chosen(self, caption: Caption, draw: Draw) -> str | Conversation:
        """The caption that is read in a draw: one of several, and of a text the lines that `captions.lines` selects."""
        one, lines = pick(caption, self.seed, *draw), self.captions.config.lines
        if not isinstance(one, str) or lines == "all":
            return one
        return pick_line(one, self.seed, *draw) if lines == "any" else next(iter(several_lines(one)), "")

    def some(self, number: int) -> tuple[list[Sample], list[Skipped]]:
        """Up to so many usable samples, spread evenly over the source, and the skipped ones."""
        return spread_samples(self, number)

    def _decode(self, draw: Draw, image_config: ImageConfig) -> _Decoded | Skipped:
        source, _, index = locate(self.source, *draw)
        try:
            example = source[index]
        except Unusable as error:  # its message names the example
            return Skipped(f"{source.name}[{index}]", error.reason, one_line(str(error)), source.name)
        key, caption = example.key, self.chosen(example.caption, draw)
        if not plain_text(caption).strip():
            return Skipped(key, "no caption", f"{key}: no caption", source.name)
        try:
            image = prepare_image(example.image, image_config, self.model_config)
        except Unusable as error:  # its message may lack the key of the example
            reason = str(error)
            return Skipped(
                key, error.reason, one_line(reason if reason.startswith(key) else f"{key}: {reason}"), source.name
            )
        return _Decoded(key, image, caption, source.name)

    def _finish(self, decoded: _Decoded, token_ids: np.ndarray, learned: np.ndarray) -> ReadSample | Skipped:
        key, (patches, grid, squeezed), _, source = decoded
        room = len(token_ids) if self.max_tokens is None else max(0, self.max_tokens - len(patches))
        if not learned[:room].any():
            found = f"{key}: {len(patches)} patches leave {room} tokens for text, none of them of the caption"
            return Skipped(key, "too large for a pack", f"{found}; raise packing.max_tokens (now {self.max_tokens})", source)
        return ReadSample(key, Sample(patches, grid, token_ids[:room], learned[:room]), source, squeezed)


@lru_cache(maxsize=64)
def _with_budget(image_config: ImageConfig, max_patches: int) -> ImageConfig:
    return dataclasses.replace(image_config, max_patches=max_patches) if max_patches else image_config
