"""The usual way to train on samples of different lengths, for comparison: a padded batch with a dense mask.

In: a GenLIP and a pack. Out: the same summed loss as `model(pack)`, computed on `samples x longest` rows.
Every sample is filled up to the longest one, all matrix products of all blocks run on the filled rows too, and attention
gets a Bool[samples, 1, longest, longest] mask. The weights, the head and its chunked loss are the same, so the difference
in time is that of padding, mask, and of the last block, which here computes every row.

Axes: s samples, l rows of the longest sample, n rows of the pack, h heads, d head dimension, D width.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.genlip import GenLIP
from genlip.model.objective import caption_loss
from genlip.model.pack import Pack
from genlip.model.positions import rotary_tables

__all__ = ["padded_loss", "padded_rows"]


def padded_rows(pack: Pack) -> int:
    """Rows of the padded batch, s * l."""
    lengths = [patches + text for patches, text in zip(pack.patch_counts, pack.text_lengths, strict=True)]
    return len(lengths) * max(lengths)


def padded_loss(model: GenLIP, pack: Pack) -> Tensor:
    """Float[], the summed loss of the supervised tokens; equal to `model(pack)` up to rounding where DropPath is off."""
    samples = len(pack.grids)
    longest = padded_rows(pack) // samples
    slots = pack.sample_of_row * longest + pack.position_in_sample  # Int64[n], the place of each row in the padded batch
    packed = model.embed(pack)
    x = packed.new_zeros(samples * longest, packed.shape[1]).index_copy(0, slots, packed)
    positions = pack.positions.new_zeros(3, samples * longest).index_copy(1, slots, pack.positions)
    rotary = rotary_tables(positions, model.config, torch.promote_types(x.dtype, torch.float32))
    attend = partial(_attend, mask=_mask(pack, longest), samples=samples)
    for block in model.blocks:
        x = block(x, rotary, attend)
    hidden = model.proj(model.ln_post(x[slots[pack.predictors]]))
    return caption_loss(hidden, model.lm_head.weight, pack.token_ids, pack.supervised)


def _mask(pack: Pack, longest: int) -> Tensor:
    """Bool[s 1 l l]: patches see the patches of their sample, text sees them and its own past; padding is seen by itself."""
    place = torch.arange(longest, device=pack.positions.device)
    patches = torch.tensor(pack.patch_counts, device=place.device)[:, None, None]
    rows = patches + torch.tensor(pack.text_lengths, device=place.device)[:, None, None]
    last_visible = torch.maximum(place[None, :, None], patches - 1)
    visible = (place[None, None] <= last_visible) & (place[None, None] < rows)
    return (visible | torch.eye(longest, dtype=torch.bool, device=place.device)).unsqueeze(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, samples: int, predicting: bool = False) -> Tensor:
    """[s*l h d] -> [s*l h d]"""
    heads_first = (x.unflatten(0, (samples, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*heads_first, attn_mask=mask).transpose(1, 2).flatten(0, 1)
