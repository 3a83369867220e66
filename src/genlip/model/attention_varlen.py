"""Prefix-LM attention by a kernel for sequences of different lengths in one buffer: no mask, no padding, two calls.

In: queries, keys and values of a pack. Out: the attention output of each query.
Patches attend to the patches of their image, which are already adjacent. Text attends to its image's patches and its own
past: its keys are first put into sample order. The kernel's causal mask, aligned to the end of queries and keys, is then the
right one. PyTorch does not document that alignment, so `genlip.model.attention_choice` tests it before a run uses it.

Axes: n rows of the pack (p patches, then t text tokens), h heads, d head dimension, m keys that text reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from genlip.model.device_transfer import on_device
from genlip.model.pack import Pack

__all__ = ["Lengths", "TextReads", "VarlenAttention", "text_reads"]

FULL, CAUSAL = (-1, -1), (-1, 0)  # window_size of the kernel: how far back and ahead a query sees, -1 without limit


@dataclass(frozen=True)
class Lengths:
    """Lengths of neighbouring sequences as the kernel wants them.

    Attributes:
        ends: Int32[sequences + 1], running sum of the lengths, from 0.
        longest: the largest length.
    """

    ends: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Lengths:
        """From the lengths themselves, of which there is at least one."""
        return cls(on_device(np.cumsum((0, *lengths), dtype=np.int32), device), max(lengths))


@dataclass(frozen=True)
class TextReads:
    """Keys that the text of a pack reads. Samples without text are left out, so the kernel never gets an empty sequence.

    Attributes:
        keys: Int64[m], rows of the pack in sample order: each sample's patches, then its text.
        queries: number of queries of each sample.
        reads: number of keys of each sample.
    """

    keys: Tensor
    queries: Lengths
    reads: Lengths


def text_reads(pack: Pack, predicting: bool) -> TextReads | None:
    """The keys that the text of a pack reads, None if it has no text.

    A text row sees itself, so N patches and L tokens give L queries and N + L keys. When predicting, the query of a token is
    the row before it: L queries again. The last token has no query, so the keys are N + L - 1. Aligned to the end, the first
    query sees N keys, all patches, as the last patch must.
    """
    patch_ends, text_ends = np.cumsum(pack.patch_counts), pack.num_patches + np.cumsum(pack.text_lengths)
    keys: list[np.ndarray] = []
    for patches, text, patch_end, text_end in zip(pack.patch_counts, pack.text_lengths, patch_ends, text_ends, strict=True):
        if text:
            keys.append(np.arange(patch_end - patches, patch_end))
            keys.append(np.arange(text_end - text, text_end - int(predicting)))
    if not keys:
        return None
    device = pack.positions.device
    shapes = [shape for shape in zip(pack.patch_counts, pack.text_lengths, strict=True) if shape[1]]
    return TextReads(
        keys=on_device(np.concatenate(keys), device),
        queries=Lengths.of([text for _, text in shapes], device),
        reads=Lengths.of([patches + text - int(predicting) for patches, text in shapes], device),
    )


class VarlenAttention:
    """Attention over one pack: `attend(q, k, v, predicting)`. Lengths and order are computed once for all layers.

    kernel  as `torch.nn.attention.varlen.varlen_attn`, which is the default: GPU, float16 or bfloat16, d a multiple of 8
    """

    def __init__(self, pack: Pack, kernel: Callable[..., Tensor] | None = None) -> None:
        self.pack = pack
        self.kernel = kernel or _torch_kernel()
        self.patches = Lengths.of(pack.patch_counts, pack.positions.device)
        self._text: dict[bool, TextReads | None] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """See `genlip.model.attention.GroupedAttention`."""
        if predicting not in self._text:
            self._text[predicting] = text_reads(self.pack, predicting)
        text, p = self._text[predicting], 0 if predicting else self.pack.num_patches
        if text is None:
            return q if predicting else self._attend(q, k, v, self.patches, self.patches, FULL)
        k_patches, k_text = _arrange(k, p, text.keys)
        v_patches, v_text = _arrange(v, p, text.keys)
        if predicting:
            return self._attend(q, k_text, v_text, text.queries, text.reads, CAUSAL)
        q_patches, q_text = q.split([p, len(q) - p])
        return torch.cat(
            [
                self._attend(q_patches, k_patches, v_patches, self.patches, self.patches, FULL),
                self._attend(q_text, k_text, v_text, text.queries, text.reads, CAUSAL),
            ]
        )

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, asks: Lengths, reads: Lengths, window: tuple[int, int]) -> Tensor:
        return self.kernel(q, k, v, asks.ends, reads.ends, asks.longest, reads.longest, window_size=window)


def _torch_kernel() -> Callable[..., Tensor]:
    from torch.nn.attention.varlen import (
        varlen_attn,
    )  # imports the compiler, which takes a second; only this backend needs it

    return cast(Callable[..., Tensor], varlen_attn)  # returns no log-sum-exp unless requested


def _arrange(x: Tensor, patches: int, keys: Tensor) -> tuple[Tensor, Tensor]:
    """[n h d] -> the patches [p h d], and the rows that text reads [m h d]."""
    return _Arrange.apply(x, patches, keys)


class _Arrange(torch.autograd.Function):
    """A slice and a gather of the same rows.

    No row is gathered twice, so the gradient is one copy and one addition. Autograd would sum two full-size tensors, one of
    them with atomic additions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, patches: int, keys: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(keys)
        ctx.rows = len(x)
        return x[:patches], x.index_select(0, keys)

    @staticmethod
    def backward(ctx: Any, grad_patches: Tensor, grad_text: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (keys,) = ctx.saved_tensors
        grad = grad_text.new_zeros(ctx.rows, *grad_text.shape[1:]).index_copy_(0, keys, grad_text)
        grad[: len(grad_patches)] += grad_patches
        return grad, None, None
