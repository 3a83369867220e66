"""A pack: the patches and caption tokens of several samples in one flat buffer, without padding.

In: samples. Out: a `Pack`, the only form of batch that the model takes.
The buffer holds all patches first and all text after them, not sample after sample. Patches of equally large images, and the
rows that the loss reads, are then plain slices, so attention and the last block need no copies.

Axes: s samples, p patches of the pack, t text tokens of the pack, n = p + t rows of the buffer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.device_transfer import on_device
from genlip.model.positions import patch_positions, text_positions

__all__ = ["Pack", "Sample", "ShapeRun"]


@dataclass(frozen=True)
class Sample:
    """One image and the text that follows it.

    Attributes:
        patches: UInt8[N, C*P*P] raw pixels, or Float[N, C*P*P] already normalised to [-1, 1]; row-major, channel first.
        grid: (rows, columns) of patches; rows * columns = N.
        token_ids: Int64[L] prompt, caption and end tokens; may be empty.
        supervised: Bool[L], True where the loss is applied.
    """

    patches: np.ndarray | Tensor
    grid: tuple[int, int]
    token_ids: np.ndarray | Sequence[int] = ()
    supervised: np.ndarray | Sequence[bool] = ()

    def __post_init__(self) -> None:
        rows, columns = self.grid
        if rows < 1 or columns < 1 or len(self.patches) != rows * columns:
            raise ValueError(f"grid {self.grid} does not hold the {len(self.patches)} patches of the sample")
        if len(self.supervised) != len(self.token_ids):
            raise ValueError(f"{len(self.supervised)} supervised marks for {len(self.token_ids)} token ids: need one each")

    @property
    def shape(self) -> tuple[int, int]:
        """Its numbers of patches and of text tokens: samples of one shape are neighbours in a pack."""
        return len(self.patches), len(self.token_ids)

    @property
    def num_rows(self) -> int:
        """Rows that it fills in a pack."""
        return sum(self.shape)

    def with_text(self, token_ids: Sequence[int], supervised: Sequence[bool] | None = None) -> Sample:
        """The same image with other text. Without `supervised`, all of it is supervised."""
        return dataclasses.replace(
            self, token_ids=token_ids, supervised=[True] * len(token_ids) if supervised is None else supervised
        )


class ShapeRun(NamedTuple):
    """Neighbouring samples of one shape: `samples` of them, of `patches` patches and `text` tokens each."""

    samples: int
    patches: int
    text: int


@dataclass(frozen=True, repr=False)
class Pack:
    """Samples in one flat buffer: row i < p is a patch, the rows after them are text, both in sample order.

    Attributes:
        patches: UInt8[p, C*P*P] raw, or Float[p, C*P*P] normalised.
        token_ids: Int64[t].
        supervised: Bool[t].
        positions: Int64[3, n], the (time, row, column) of every row.
        grids: (rows, columns) of each of the s samples.
        text_lengths: number of text tokens of each of the s samples.
    """

    patches: Tensor
    token_ids: Tensor
    supervised: Tensor
    positions: Tensor
    grids: tuple[tuple[int, int], ...]
    text_lengths: tuple[int, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Pack:
        """Put samples into one buffer, in the order given. Neighbours of equal shape share one attention call."""
        if not samples:
            raise ValueError("a pack needs at least one sample")
        patches = [torch.as_tensor(s.patches) for s in samples]
        _check_alike(patches)
        grids = tuple((int(s.grid[0]), int(s.grid[1])) for s in samples)
        lengths = tuple(len(s.token_ids) for s in samples)
        places = [patch_positions(*grid) for grid in grids]
        places += [text_positions(grid, length) for grid, length in zip(grids, lengths, strict=True)]
        return cls(
            patches=torch.cat(patches),
            token_ids=torch.from_numpy(np.concatenate([np.asarray(s.token_ids, np.int64) for s in samples])),
            supervised=torch.from_numpy(np.concatenate([np.asarray(s.supervised, bool) for s in samples])),
            positions=torch.from_numpy(np.concatenate(places, axis=1)),
            grids=grids,
            text_lengths=lengths,
        )

    def __repr__(self) -> str:
        return (
            f"<Pack of {len(self.grids)} samples: {self.num_patches} patches, {len(self.token_ids)} text tokens, "
            f"{self.patches.dtype}, {self.patches.device}>"
        )

    @cached_property
    def patch_counts(self) -> tuple[int, ...]:
        """Number of patches of each sample."""
        return tuple(rows * columns for rows, columns in self.grids)

    @property
    def num_samples(self) -> int:
        """Number s of samples."""
        return len(self.grids)

    @property
    def num_patches(self) -> int:
        """Rows p of the buffer that are patches."""
        return len(self.patches)

    @property
    def num_rows(self) -> int:
        """Rows n of the buffer: every patch and every text token."""
        return len(self.patches) + len(self.token_ids)

    @cached_property
    def runs(self) -> tuple[ShapeRun, ...]:
        """The samples as runs of equal shape, in order."""
        shapes = zip(self.patch_counts, self.text_lengths, strict=True)
        return tuple(ShapeRun(len(list(same)), *shape) for shape, same in groupby(shapes))

    @cached_property
    def sample_of_row(self) -> Tensor:
        """Int64[n], the number of the sample to which each row belongs."""
        numbers = np.arange(len(self.grids))
        rows = np.concatenate([numbers.repeat(self.patch_counts), numbers.repeat(self.text_lengths)])
        return on_device(rows, self.positions.device)

    @cached_property
    def position_in_sample(self) -> Tensor:
        """Int64[n], the position of each row in its own sample: patches from 0, then text."""
        positions = [np.arange(count) for count in self.patch_counts]
        positions += [count + np.arange(length) for count, length in zip(self.patch_counts, self.text_lengths, strict=True)]
        return on_device(np.concatenate(positions), self.positions.device)

    @cached_property
    def predictors(self) -> Tensor:
        """Int64[t], the row that predicts each text token: the one before it, for a first token the last patch."""
        rows = self.num_patches - 1 + np.arange(len(self.token_ids))
        firsts = np.cumsum((0, *self.text_lengths[:-1]))
        with_text = np.array(self.text_lengths) > 0
        rows[firsts[with_text]] = (np.cumsum(self.patch_counts) - 1)[with_text]
        return on_device(rows, self.positions.device)

    @cached_property
    def last_rows(self) -> Tensor:
        """Int64[s], the last row of each sample: its last token, or its last patch if it has no text."""
        patch_ends = np.cumsum(self.patch_counts) - 1
        text_ends = self.num_patches + np.cumsum(self.text_lengths) - 1
        rows = np.where(np.array(self.text_lengths) > 0, text_ends, patch_ends)
        return on_device(rows, self.positions.device)

    def to(self, device: torch.device | str) -> Pack:
        """The same pack on another device."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Pack:
        """The same pack in page-locked memory, from which copies to a GPU are asynchronous."""
        return self._with_tensors(Tensor.pin_memory)

    def clone(self) -> Pack:
        """A copy of the pack."""
        return self._with_tensors(Tensor.clone)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Pack:
        return dataclasses.replace(
            self,
            patches=change(self.patches),
            token_ids=change(self.token_ids),
            supervised=change(self.supervised),
            positions=change(self.positions),
        )

    def without_text(self) -> Pack:
        """The images of the pack without their texts, as an encoder reads them."""
        return dataclasses.replace(
            self,
            token_ids=self.token_ids[:0],
            supervised=self.supervised[:0],
            positions=self.positions[:, : self.num_patches],
            text_lengths=(0,) * len(self.grids),
        )

    def padded(self, rows: int) -> Pack:
        """The pack, padded to `rows` rows by one more sample: a patch of zeros, and text without loss.

        Compiled kernels then always get n rows. The split of n into p patches and t tokens still varies: outside of
        attention all work is on n rows, `varlen` takes any lengths, and `flex` pads by itself. Only the last block of a
        training step works on t rows; it must be compiled for varying shapes. Loss and gradients do not change. The numbers
        of samples and rows do, so count before padding. Raises ValueError if the pack has more rows.
        """
        missing, p = rows - self.num_rows, self.num_patches
        if missing < 0:
            raise ValueError(f"a pack of {self.num_rows} rows cannot be padded to {rows}: pad to packing.max_tokens or more")
        if missing == 0:
            return self
        places = np.concatenate([patch_positions(1, 1), text_positions((1, 1), missing - 1)], axis=1)
        tail = on_device(places, self.positions.device)
        return dataclasses.replace(
            self,
            patches=F.pad(self.patches, (0, 0, 0, 1)),
            token_ids=F.pad(self.token_ids, (0, missing - 1)),
            supervised=F.pad(self.supervised, (0, missing - 1)),
            positions=torch.cat([self.positions[:, :p], tail[:, :1], self.positions[:, p:], tail[:, 1:]], dim=1),
            grids=(*self.grids, (1, 1)),
            text_lengths=(*self.text_lengths, missing - 1),
        )


def _check_alike(patches: Sequence[Tensor]) -> None:
    """Refuse raw bytes together with normalised numbers: both would be read as normalised."""
    kinds = {str(p.dtype).removeprefix("torch.") for p in patches}
    widths = {p.shape[1] for p in patches}
    if len(kinds) > 1 or len(widths) > 1:
        raise ValueError(
            f"patches of {', '.join(sorted(kinds))} with {', '.join(map(str, sorted(widths)))} numbers each: "
            "the samples of a pack need one dtype and one patch size"
        )
