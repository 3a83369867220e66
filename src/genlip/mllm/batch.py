"""Batch: dialogues with their prepared images, one after another in one row, without padding.

In: samples. Out: an `MLLMPack`, the only form of batch that the model takes. All indexing is prepared here, in the loader's
processes: which features become which visual tokens, where these lie among the text, and which rows predict.

Axes: i images of the encoder, p patches of all of them, u visual features after pixel shuffle, v visual tokens, t rows of
the language model, k supervised tokens, s samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genlip.encoder import Prepared

__all__ = ["NEWLINE", "MLLMPack", "MLLMSample", "shuffled_grid", "shuffled_patches"]

NEWLINE = -1  # in `visual`: the newline vector of the projector instead of a feature


@dataclass(frozen=True)
class MLLMSample:
    """One dialogue.

    Attributes:
        images: as the encoder's `prepare` returns them; the tiles of an image are images of the encoder.
        visual: Int64[v], for each visual token its feature among those of the sample's images, or `NEWLINE`.
        token_ids: Int64[t], with a placeholder for each visual token.
        supervised: Bool[t], True where the loss is applied.
        is_visual: Bool[t], True at the v placeholders.
    """

    images: tuple[Prepared, ...]
    visual: np.ndarray
    token_ids: np.ndarray
    supervised: np.ndarray
    is_visual: np.ndarray

    def __post_init__(self) -> None:
        if int(self.is_visual.sum()) != len(self.visual):
            raise ValueError(f"{int(self.is_visual.sum())} placeholders for {len(self.visual)} visual tokens: need one each")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of the language model, and visual tokens among them: equal samples are neighbours in a pack."""
        return len(self.token_ids), len(self.visual)

    @property
    def num_rows(self) -> int:
        """Rows that it fills in a pack."""
        return len(self.token_ids)


@dataclass(frozen=True, repr=False)
class MLLMPack:
    """Samples in one row.

    Attributes:
        images: what the vision tower's `collate` made of all images; an empty image where no sample has one.
        num_images: number of images; 0 if `images` is the empty one.
        patches: Int64[u s²], the patches that pixel shuffle joins, p where there is none; None without pixel shuffle.
        visual: Int64[v], for each visual token its feature, u for the newline vector.
        visual_rows: Int64[v], its row.
        token_ids: Int64[t]
        positions: Int64[t], of each row in its sample.
        predictors: Int64[k], rows that predict the supervised tokens.
        targets: Int64[k], the supervised tokens.
        lengths: rows of each sample.
    """

    images: Any
    num_images: int
    patches: Tensor | None
    visual: Tensor
    visual_rows: Tensor
    token_ids: Tensor
    positions: Tensor
    predictors: Tensor
    targets: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(
        cls, samples: Sequence[MLLMSample], collate: Callable[[Sequence[Prepared]], Any], empty: Prepared, shuffle: int = 1
    ) -> MLLMPack:
        """Samples in the order given.

        collate  puts prepared images into one batch, as `VisionTower.collate` does
        empty    the image that the encoder reads where no sample has one
        shuffle  side of the squares of patches that become one visual token
        """
        if not samples:
            raise ValueError("a pack needs at least one sample")
        images = [image for sample in samples for image in sample.images]
        lengths = tuple(len(sample.token_ids) for sample in samples)
        token_ids = np.concatenate([sample.token_ids for sample in samples])
        positions = np.concatenate([np.arange(length) for length in lengths])
        supervised = np.concatenate([sample.supervised for sample in samples]) & (positions > 0)
        (learned,) = np.nonzero(supervised)
        (visual_rows,) = np.nonzero(np.concatenate([sample.is_visual for sample in samples]))
        return cls(
            images=collate(images or [empty]),
            num_images=len(images),
            patches=torch.from_numpy(shuffled_patches([image.grid for image in images or [empty]], shuffle))
            if shuffle > 1
            else None,
            visual=torch.from_numpy(_visual(samples, shuffle)),
            visual_rows=torch.from_numpy(visual_rows),
            token_ids=torch.from_numpy(token_ids),
            positions=torch.from_numpy(positions),
            predictors=torch.from_numpy(learned - 1),
            targets=torch.from_numpy(token_ids[learned]),
            lengths=lengths,
        )

    def __repr__(self) -> str:
        return f"<MLLMPack of {len(self.lengths)} dialogues: {self.num_images} images, {len(self.token_ids)} tokens>"

    @property
    def num_samples(self) -> int:
        """Number s of samples."""
        return len(self.lengths)

    @property
    def num_rows(self) -> int:
        """Rows t: visual tokens and text."""
        return len(self.token_ids)

    def to(self, device: torch.device | str) -> MLLMPack:
        """The same pack on another device."""
        return self._with_tensors(lambda one: one.to(device, non_blocking=True), self.images.to(device))

    def pin_memory(self) -> MLLMPack:
        """The same pack in page-locked memory, from which copies to a GPU are asynchronous."""
        return self._with_tensors(Tensor.pin_memory, self.images.pin_memory())

    def _with_tensors(self, change: Callable[[Tensor], Tensor], images: Any) -> MLLMPack:
        tensors: dict[str, Any] = {
            field.name: change(value)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, images=images, **tensors)


def _visual(samples: Sequence[MLLMSample], shuffle: int) -> np.ndarray:
    """Int64[v], features of all visual tokens, counted through the whole pack; the newline vector comes after them."""
    parts, before = [np.zeros(0, np.int64)], 0
    for sample in samples:
        parts.append(np.where(sample.visual == NEWLINE, NEWLINE, sample.visual + before))
        before += sum(int(np.prod(shuffled_grid(image.grid, shuffle))) for image in sample.images)
    visual = np.concatenate(parts)
    return np.where(visual == NEWLINE, before, visual)


def shuffled_grid(grid: tuple[int, int], shuffle: int) -> tuple[int, int]:
    """Rows and columns of visual features, one for each square of patches."""
    return -(-grid[0] // shuffle), -(-grid[1] // shuffle)


def shuffled_patches(grids: Sequence[tuple[int, int]], shuffle: int) -> np.ndarray:
    """Int64[u s²]: for each square of patches its patches, row by row; p, the number of all patches, outside the image."""
    total, before, found = sum(rows * columns for rows, columns in grids), 0, []
    for rows, columns in grids:
        high, wide = shuffled_grid((rows, columns), shuffle)
        numbers = np.full((high * shuffle, wide * shuffle), total, np.int64)
        numbers[:rows, :columns] = before + np.arange(rows * columns).reshape(rows, columns)
        squares = numbers.reshape(high, shuffle, wide, shuffle).transpose(0, 2, 1, 3)
        found.append(squares.reshape(high * wide, shuffle * shuffle))
        before += rows * columns
    return np.concatenate(found)
