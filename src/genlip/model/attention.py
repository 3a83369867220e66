"""Prefix-LM attention over a pack: patches see their image, text sees its image and its own past.

In: queries, keys and values of a whole pack. Out: what each query read.
The two parts are two plain attentions (full over patches; causal over text, aligned to the end), so no mask grows with the
square of the pack. `sdpa` makes one call per run of equally shaped samples; `reference` builds the dense mask, for tests.

Axes: n rows of the pack (p patches, then t text tokens), h heads, d head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.attention_flex import FlexAttention
from genlip.model.attention_varlen import VarlenAttention
from genlip.model.pack import Pack

__all__ = ["BACKENDS", "PackAttention", "prefix_mask", "reference", "sdpa"]


_SHORT = 640  # keys up to which the stored weights of explicit products stay small


class PackAttention:
    """Attention of every layer over one pack, with the chosen backend: `attend(layer, q, k, v, predicting)`."""

    def __init__(self, pack: Pack, backend: str = "sdpa") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"unknown attention backend {backend!r}: the backends are {', '.join(BACKENDS)}")
        self.pack = pack
        self.attention = BACKENDS[backend](pack)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """See `sdpa`; every layer attends alike."""
        return self.attention(q, k, v, predicting=predicting)


def sdpa(q: Tensor, k: Tensor, v: Tensor, pack: Pack, predicting: bool = False) -> Tensor:
    """PyTorch's fused attention, one call per run of samples of one shape.

    q          Float[n h d], or Float[t h d] at `pack.predictors` if `predicting`
    k, v       Float[n h d]
    returns    like q

    Everything is cut with `split`, whose gradient is one concatenation; a slice's would be a full-size tensor of zeros.
    """
    p, t = pack.num_patches, len(pack.token_ids)
    k_patches, k_text = k.split([p, t])
    v_patches, v_text = v.split([p, t])
    read: list[Tensor] = []
    if predicting:
        q_text = q
    else:
        q_patches, q_text = q.split([p, t])
        read += _attend_patches(q_patches, k_patches, v_patches, pack.patch_counts)
    patch_sizes = [run.samples * run.patches for run in pack.runs]
    text_sizes = [run.samples * run.text for run in pack.runs]
    parts = [x.split(patch_sizes) for x in (k_patches, v_patches)] + [x.split(text_sizes) for x in (q_text, k_text, v_text)]
    for run, kp, vp, qt, kt, vt in zip(pack.runs, *parts, strict=True):
        if run.text:
            keys = torch.cat([_batch(kp, run.samples), _batch(kt, run.samples)], dim=1)
            values = torch.cat([_batch(vp, run.samples), _batch(vt, run.samples)], dim=1)
            visible = torch.ones(run.text, keys.shape[1], dtype=torch.bool, device=q.device)
            visible = visible.tril(run.patches - int(predicting))
            read.append(_attend(_batch(qt, run.samples), keys, values, visible))
    return torch.cat(read) if read else q


def _attend_patches(q: Tensor, k: Tensor, v: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Full attention within each image, one call per run of images with equally many patches."""
    runs = [len(list(same)) for _, same in groupby(counts)]
    firsts = [sum(runs[:i]) for i in range(len(runs))]
    sizes = [number * counts[first] for number, first in zip(runs, firsts, strict=True)]
    parts = zip(runs, q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
    return [_attend(_batch(qs, n), _batch(ks, n), _batch(vs, n), None) for n, qs, ks, vs in parts]


def _batch(x: Tensor, count: int) -> Tensor:
    """[count*m h d] -> [count m h d]"""
    return x.unflatten(0, (count, -1))


def _attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    """[b m h d] queries over [b l h d] keys -> [b*m h d]"""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    short_on_cpu = q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[2] <= _SHORT
    read = _by_products(q, k, v, visible) if short_on_cpu else F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    return read.transpose(1, 2).flatten(0, 1)


def _by_products(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    """Attention as two batched products. In bfloat16 on CPU it trains up to six times faster than the fused kernel, whose
    backward pass does not use the processor's bfloat16 instructions (benchmarks/attention_cpu.py)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores.softmax(dim=-1) @ v


def reference(q: Tensor, k: Tensor, v: Tensor, pack: Pack, predicting: bool = False) -> Tensor:
    """The same by definition, with the dense mask of `prefix_mask`: for tests, its memory grows with n squared."""
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
    sample, rank = pack.sample_of_row, pack.rank_in_sample
    counts = torch.tensor(pack.patch_counts, device=rank.device)
    last_visible = torch.maximum(rank, counts[sample] - 1)
    return (sample[:, None] == sample) & (rank <= last_visible[:, None])


# What attends over one pack, by name. `genlip.model.attention_choice` knows which of them can train where.
BACKENDS: dict[str, Callable[[Pack], Callable[..., Tensor]]] = {
    "sdpa": lambda pack: partial(sdpa, pack=pack),
    "varlen": VarlenAttention,
    "flex": FlexAttention,
    "reference": lambda pack: partial(reference, pack=pack),
}
