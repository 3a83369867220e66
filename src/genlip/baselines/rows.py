"""Rows: attention among the rows of samples that lie one after another, and packs of which some patches are dropped.

In: lengths of samples, or a pack. Out: attention as `genlip.model.layers.Block` calls it, or a smaller pack.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from genlip.model.attention import attend_group, heads_first, rows_of
from genlip.model.device_transfer import on_device
from genlip.model.pack import Pack

__all__ = ["CausalAttention", "SampleAttention", "drop_patches", "kept_patches"]


class SampleAttention:
    """Each sample's queries attend to its own keys: `attend(layer, q, k, v)`, one call for neighbours of equal lengths.

    queries, keys  number of rows of each sample; samples lie one after another
    causal         each row attends to itself and the rows before it; queries and keys are then the same rows
    """

    def __init__(self, queries: Sequence[int], keys: Sequence[int], causal: bool = False) -> None:
        pairs = groupby(zip(queries, keys, strict=True))
        self.runs = [(len(list(same)), query, key) for (query, key), same in pairs]
        self.future = 1 if causal else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """Float[n h d] queries, Float[m h d] keys and values -> Float[n h d]; `layer` and `predicting` change nothing."""
        of_queries = q.split([samples * query for samples, query, _ in self.runs])
        keys, values = (part.split([samples * key for samples, _, key in self.runs]) for part in (k, v))
        read = [
            rows_of(
                attend_group(
                    heads_first(of_queries[run], samples), heads_first(keys[run], samples),
                    heads_first(values[run], samples), self.future,
                )
            )
            for run, (samples, _, _) in enumerate(self.runs)
        ]  # fmt: skip
        return torch.cat(read)


class CausalAttention:
    """Every row of a pack attends to itself and the rows of its sample before it, patches too: a language model's attention.

    Called as `PackAttention`; when predicting, with queries at `pack.predictors` alone.
    """

    def __init__(self, pack: Pack) -> None:
        lengths = [patches + text for patches, text in zip(pack.patch_counts, pack.text_lengths, strict=True)]
        starts = on_device(np.cumsum([0, *lengths[:-1]]), pack.positions.device)
        self.place = starts[pack.sample_of_row] + pack.position_in_sample  # of each row of the pack, sample by sample
        self.order = self.place.argsort()
        self.predictors = pack.predictors
        self.attend = SampleAttention(lengths, lengths, causal=True)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """See the class."""
        queries = k.new_zeros(k.shape).index_copy(0, self.predictors, q.to(k.dtype)) if predicting else q
        read = self.attend(layer, queries[self.order], k[self.order], v[self.order])
        return read[self.place[self.predictors] if predicting else self.place]


def drop_patches(pack: Pack, kept: float) -> tuple[Pack, Tensor]:
    """A pack with a random share of the patches of each image, one at least, which keep their order and positions.

    kept  share in (0, 1]

    Returns the pack, whose grids are rows of the kept patches, and Int64[p'], which patches were kept.
    """
    if kept == 1:
        return pack, torch.arange(pack.num_patches, device=pack.positions.device)
    device, counts = pack.positions.device, np.array(pack.patch_counts)
    sample = pack.sample_of_row[: pack.num_patches]
    shuffled = (sample + torch.rand(pack.num_patches, device=device, dtype=torch.float64)).argsort()
    numbers = np.array([kept_patches(count, kept) for count in pack.patch_counts])
    starts = np.cumsum(counts) - counts
    chosen = np.concatenate([start + np.arange(number) for start, number in zip(starts, numbers, strict=True)])
    which = shuffled[on_device(chosen, device)].sort().values
    smaller = dataclasses.replace(
        pack,
        patches=pack.patches[which],
        positions=torch.cat([pack.positions[:, which], pack.positions[:, pack.num_patches :]], dim=1),
        grids=tuple((1, int(number)) for number in numbers),
    )
    return smaller, which


def kept_patches(count: int, kept: float) -> int:
    """How many of so many patches `drop_patches` keeps."""
    return max(1, round(kept * count))
