"""Prefix-LM attention by FlexAttention: one call over the whole pack, which skips the empty blocks of the mask.

In: queries, keys and values of a pack. Out: the attention output of each query.
The kernel is compiled for one shape, so rows are padded to a power of two. Nine shapes cover packs up to 32,768 rows, and a
pack of 16,384 is not copied. When predicting, the t queries are padded to the number of keys; otherwise every pack would
have a new shape. Padding blocks are skipped like empty ones.

The kernel itself rounds up head dimensions that are not a power of two (72, 96).

Axes: n rows of the pack (p patches, then t text tokens), f rows with padding, h heads, d head dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.device_transfer import on_device
from genlip.model.pack import Pack

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["FlexAttention", "filled_rows", "mask_rule"]

_BLOCK = 128  # rows of a block of the mask; fewer queries than this would select a kernel meant for decoding
_SHAPES = 32  # most compiled variants: each shape with and without gradients


class FlexAttention:
    """Attention over one pack: `attend(q, k, v, predicting)`. Masks are built once for all layers.

    Compiled on a GPU. On CPU it runs uncompiled, in any precision and without gradients: enough to test the mask.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.rows = filled_rows(pack.num_rows)
        self._masks: dict[bool, BlockMask] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """See `genlip.model.attention.GroupedAttention`."""
        attention, _ = _kernels(q.device.type)
        heads_first = (_fill(x, self.rows).transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        read = attention(*heads_first, block_mask=self._mask(predicting, q.device))
        return read.squeeze(0).transpose(0, 1)[: len(q)]

    def _mask(self, predicting: bool, device: torch.device) -> BlockMask:
        if predicting not in self._masks:
            _, build = _kernels(device.type)
            rule = mask_rule(self.pack, self.rows, predicting)
            self._masks[predicting] = build(rule, None, None, self.rows, self.rows, device=device, BLOCK_SIZE=_BLOCK)
        return self._masks[predicting]


def filled_rows(rows: int) -> int:
    """The power of two, at least one block, to which rows are padded."""
    return max(_BLOCK, 1 << (rows - 1).bit_length())


def mask_rule(pack: Pack, rows: int, predicting: bool) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """`prefix_mask` as a function of (batch, head, query, key), for `rows` rows; those after the pack's are padding.

    No query sees a padding key. A padding query sees only the first key: the softmax over no keys would be NaN.
    """
    sample, position = pack.sample_of_row, pack.position_in_sample
    counts = on_device(np.array(pack.patch_counts), position.device)
    last_visible = torch.maximum(position, counts[sample] - 1)
    queries = pack.predictors if predicting else slice(None)
    query_sample, query_last = _fill(sample[queries], rows), _fill(last_visible[queries], rows)
    key_sample, key_position = _fill(sample, rows, -1), _fill(position, rows)

    def may_attend(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query_sample[query] == key_sample[key]) & (key_position[key] <= query_last[query])

    return may_attend


def _fill(x: Tensor, rows: int, value: int = 0) -> Tensor:
    """[m ..] -> [rows ..]"""
    return x if len(x) == rows else F.pad(x, (0, 0) * (x.ndim - 1) + (0, rows - len(x)), value=value)


@cache
def _kernels(device_type: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Attention, and the builder of its masks."""
    from torch._dynamo import config  # imports the compiler, see varlen
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if device_type == "cpu":
        return flex_attention, create_block_mask
    # fullgraph: without it, PyTorch could silently run uncompiled and hold rows x rows scores
    # config.patch: torch.compile takes a recompile_limit only from PyTorch 2.13 on
    more_shapes = config.patch(recompile_limit=_SHAPES)
    return tuple(
        more_shapes(torch.compile(function, dynamic=False, fullgraph=True))
        for function in (flex_attention, create_block_mask)
    )
