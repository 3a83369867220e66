"""Prefix-LM attention over a pack: patches see their image, text sees its image and its own past.

In: queries, keys and values of a whole pack. Out: the attention output of each query.
There are two plain attentions: full over patches, and causal over text, aligned to the end. So no mask grows with the square
of the pack. `GroupedAttention` makes one call per group of similar samples. `reference` builds the dense mask, for tests.

Axes: n rows of the pack (p patches, then t text tokens), h heads, d head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.attention_flex import FlexAttention
from genlip.model.attention_varlen import VarlenAttention
from genlip.model.device_transfer import on_device
from genlip.model.pack import Pack

__all__ = [
    "BACKENDS", "GroupedAttention", "PackAttention", "attend_group", "heads_first", "prefix_mask", "reference", "rows_of",
]  # fmt: skip


_SHORT = 640  # keys up to which the stored weights of explicit products stay small
_PADDING = 1.5  # most rows per token in a group of padded texts


class PackAttention:
    """Attention of every layer over one pack, with the chosen backend: `attend(layer, q, k, v, predicting)`."""

    def __init__(self, pack: Pack, backend: str = "sdpa") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"unknown attention backend {backend!r}: the backends are {', '.join(BACKENDS)}")
        self.pack = pack
        self.attention = BACKENDS[backend](pack)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """See `GroupedAttention`; all layers attend in the same way."""
        return self.attention(q, k, v, predicting=predicting)


class GroupedAttention:
    """Attention in groups of neighbouring images with equally many patches: one call for the patches, one for the texts.

    q          Float[n h d], or Float[t h d] at `pack.predictors` if `predicting`
    k, v       Float[n h d]
    returns    like q

    Tensors are cut with `split`: its gradient is one concatenation. The gradient of a slice is a full-size tensor of zeros.
    """

    def __init__(self, pack: Pack) -> None:
        self.groups = _groups(pack.patch_counts, pack.text_lengths)
        self.slots = [on_device(group.slots(), pack.positions.device) for group in self.groups]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """See the class."""
        patches = [len(group.texts) * group.patches for group in self.groups]
        texts = [sum(group.texts) for group in self.groups]
        k_patches, k_text = _cut(k, patches, texts)
        v_patches, v_text = _cut(v, patches, texts)
        q_patches, q_text = ([], list(q.split(texts))) if predicting else _cut(q, patches, texts)
        read_patches, read_text = [], []
        for i, (group, slots) in enumerate(zip(self.groups, self.slots, strict=True)):
            samples = len(group.texts)
            keys, values = heads_first(k_patches[i], samples), heads_first(v_patches[i], samples)
            if not predicting:
                read_patches.append(rows_of(attend_group(heads_first(q_patches[i], samples), keys, values)))
            if texts[i]:
                padded = (_padded(x[i], group, slots) for x in (q_text, k_text, v_text))
                queries, new_keys, new_values = (heads_first(x, samples) for x in padded)
                keys, values = torch.cat([keys, new_keys], dim=2), torch.cat([values, new_values], dim=2)
                read = rows_of(attend_group(queries, keys, values, future=0 if predicting else 1))
                read_text.append(read if group.even else read.index_select(0, slots))
        return torch.cat(read_patches + read_text) if read_patches or read_text else q


def _cut(x: Tensor, patches: list[int], texts: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Rows of a pack as each group's patches, and each group's text."""
    parts = x.split(patches + texts)
    return list(parts[: len(patches)]), list(parts[len(patches) :])


class _Group(NamedTuple):
    """Neighbouring samples with equally many patches; short texts are padded to the longest, where that is cheap."""

    patches: int
    texts: tuple[int, ...]

    @property
    def even(self) -> bool:
        """Whether all texts have the same length, so that nothing is padded."""
        return min(self.texts) == max(self.texts)

    def slots(self) -> np.ndarray:
        """Int64[sum of texts], the row of each token among the padded texts."""
        longest = max(self.texts)
        return np.concatenate([np.arange(length) + i * longest for i, length in enumerate(self.texts)])


def _groups(patches: Sequence[int], texts: Sequence[int]) -> list[_Group]:
    groups: list[_Group] = []
    for count, text in zip(patches, texts, strict=True):
        joined = (*groups[-1].texts, text) if groups else (text,)
        if groups and groups[-1].patches == count and max(joined) * len(joined) <= _PADDING * sum(joined):
            groups[-1] = _Group(count, joined)
        else:
            groups.append(_Group(count, (text,)))
    return groups


def _padded(x: Tensor, group: _Group, slots: Tensor) -> Tensor:
    """[sum of texts, h, d] -> [samples * longest, h, d]; padding comes after a text, so its queries do not see it."""
    if group.even:
        return x
    return x.new_zeros(len(group.texts) * max(group.texts), *x.shape[1:]).index_copy(0, slots, x)


def heads_first(x: Tensor, samples: int) -> Tensor:
    """[samples*m h d] -> [samples h m d]"""
    return x.unflatten(0, (samples, -1)).transpose(1, 2)


def rows_of(x: Tensor) -> Tensor:
    """[samples h m d] -> [samples*m h d]"""
    return x.transpose(1, 2).flatten(0, 1)


def attend_group(q: Tensor, k: Tensor, v: Tensor, future: int | None = None) -> Tensor:
    """[b h m d] queries over [b h l d] keys -> [b h m d]

    future  None: every query sees every key. Else the last m keys are the text of the queries, and query i sees none of
            them from i + future on.
    """
    by_products = q.dtype == torch.bfloat16 or future is not None
    if by_products and q.device.type == "cpu" and k.shape[2] <= _SHORT:
        return _by_products(q, k, v, future)
    visible = None
    if future is not None:
        m, keys = q.shape[2], k.shape[2]
        visible = torch.ones(m, keys, dtype=torch.bool, device=q.device).tril(keys - m + future - 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)


def _by_products(q: Tensor, k: Tensor, v: Tensor, future: int | None = None) -> Tensor:
    """Attention as two batched products. On a CPU this trains faster than the fused kernel with a mask, and in bfloat16 up
    to six times faster: there the kernel's backward pass does not use the processor's instructions
    (benchmarks/attention_cpu.py)."""
    m = q.shape[2]
    q, k, v = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
    scores = q @ k.transpose(-1, -2)
    if future is not None:
        hidden = torch.ones(m, m, dtype=torch.bool, device=q.device).triu(future)
        # Outside of autograd: where a weight is zero, the gradient of its score is zero too.
        scores.detach()[..., -m:].masked_fill_(hidden, -torch.inf)
    return scores.softmax(dim=-1) @ v


def reference(q: Tensor, k: Tensor, v: Tensor, pack: Pack, predicting: bool = False) -> Tensor:
    """The same computed by definition, with the dense mask of `prefix_mask`. For tests: memory grows with n squared."""
    mask = prefix_mask(pack)
    if predicting:
        mask = mask[pack.predictors]
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


def prefix_mask(pack: Pack) -> Tensor:
    """Bool[n n]: may the row attend to the column?  One sample of two patches and two tokens:

    patch  1 1 . .
    patch  1 1 . .
    token  1 1 1 .
    token  1 1 1 1
    """
    sample, position = pack.sample_of_row, pack.position_in_sample
    counts = torch.tensor(pack.patch_counts, device=position.device)
    last_visible = torch.maximum(position, counts[sample] - 1)
    return (sample[:, None] == sample) & (position <= last_visible[:, None])


# Attention backends by name. `genlip.model.attention_choice` decides which of them can train on a device.
BACKENDS: dict[str, Callable[[Pack], Callable[..., Tensor]]] = {
    "sdpa": GroupedAttention,
    "varlen": VarlenAttention,
    "flex": FlexAttention,
    "reference": lambda pack: partial(reference, pack=pack),
}
