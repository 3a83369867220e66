"""KV cache: the keys and values of a pack that was read once, for the tokens that follow.

In: a model and a pack. Out: keys and values of every row, sample by sample, and each sample's last row after the trunk.

Axes: s samples, c capacity of the buffer, h heads, d head dimension, D trunk width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genlip.model.attention import PackAttention
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack

__all__ = ["Cache"]


@dataclass(frozen=True)
class Cache:
    """Keys, values and last rows of a pack.

    Attributes:
        store: Float[layers 2 s h c d], keys and values; of a shorter sample, the end is unused.
        last: Float[s D] after the last block, each sample's last row.
        lengths: rows of each sample.
        starts: Int64[s], the position of the text token that comes next.
    """

    store: Tensor
    last: Tensor
    lengths: tuple[int, ...]
    starts: Tensor

    @classmethod
    def of(cls, model: GenLIP, pack: Pack, room: int = 0) -> Cache:
        """Run the trunk on the whole pack. The buffer has `room` more rows for each sample. For inference mode."""
        config, shapes = model.config, list(zip(pack.patch_counts, pack.text_lengths, strict=True))
        lengths = tuple(patches + text for patches, text in shapes)
        starts = [max(grid) + text for grid, text in zip(pack.grids, pack.text_lengths, strict=True)]
        shape = (len(lengths), config.num_attention_heads, max(lengths) + room, config.head_dim)
        dtype = _product_dtype(model)
        store = torch.zeros((config.num_hidden_layers, 2, *shape), dtype=dtype, device=model.device)
        attend = PackAttention(pack, model.attention)

        def remember(layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
            keys, values = store[layer]
            keys[pack.sample_of_row, :, pack.position_in_sample] = k
            values[pack.sample_of_row, :, pack.position_in_sample] = v
            return attend(layer, q, k, v, predicting)

        last = model.trunk(pack, attend=remember)[pack.last_rows]
        return cls(store, last, lengths, torch.tensor(starts, device=model.device))


def _product_dtype(model: GenLIP) -> torch.dtype:
    """Precision of the output of linear maps: that of the weights, or of autocast."""
    kind = model.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.ln_post.weight.dtype
