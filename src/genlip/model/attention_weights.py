"""Attention weights: the attention of a pass over a pack, with the weights of every softmax given to a callback.

In: what `GenLIP.trunk(pack, attend=...)` hands to any attention. Out: the same reads, so the pass goes on as usual. Fused
kernels never hold the weights; here they are computed by definition, one dense product for some samples of equal shape at a
time, so that memory grows with the square of a sample and not of the pack. Meant for analysis, not for training or serving.

Axes: n rows of the pack, s samples of equal shape, l rows of one of them (its patches, then its text), m of these that are
queries, h heads, d head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genlip.model.pack import Pack, ShapeRun

__all__ = ["RecordingAttention", "Weights", "visible_rows"]

_WEIGHTS = 2**25  # at most this many at once, unless one sample has more: 128 MiB in float32


class Weights(NamedTuple):
    """Attention of neighbouring samples of equal shape in one layer.

    Attributes:
        layer: from 0.
        first: number in the pack of the first of the samples.
        patches: rows of each sample that are patches; text follows.
        weights: Float[s h m l], in float32 or wider; each row sums to 1 and is 0 where the query must not attend. All l rows
            are queries (m = l), or where the pass is `predicting` the m rows before each text token.
    """

    layer: int
    first: int
    patches: int
    weights: Tensor


class RecordingAttention:
    """Attention over one pack that records its weights: `model.trunk(pack, attend=RecordingAttention(pack, listen))`.

    pack     the very pack that the trunk reads
    listen   is called with the `Weights` of every layer, samples in order; it may keep or change the tensor
    """

    def __init__(self, pack: Pack, listen: Callable[[Weights], None]) -> None:
        self.pack = pack
        self.listen = listen

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """What each query read.

        q          Float[n h d], or Float[t h d] at `pack.predictors` if `predicting`
        k, v       Float[n h d]
        returns    like q
        """
        runs = self.pack.runs
        asking = [ShapeRun(samples, 0, text) for samples, _, text in runs] if predicting else runs
        parts = zip(runs, _by_sample(q, asking), _by_sample(k, runs), _by_sample(v, runs), strict=True)
        first, reads = 0, []
        for run, queries, keys, values in parts:
            some = max(1, _WEIGHTS // max(1, queries[0, :, :, 0].numel() * keys.shape[1]))
            for start in range(0, run.samples, some):
                here = slice(start, start + some)
                read, weights = _attend(queries[here], keys[here], values[here], run)
                reads.append((read, 0 if predicting else run.patches))
                self.listen(Weights(layer, first + start, run.patches, weights))
            first += run.samples
        patches, text = [read[:, :at] for read, at in reads], [read[:, at:] for read, at in reads]
        return torch.cat([part.flatten(0, 1) for part in patches + text])


def visible_rows(patches: int, text: int, device: torch.device | None = None) -> Tensor:
    """Bool[l l]: may the row of a sample attend to the column? Patches see patches; text sees them and its own past."""
    rank = torch.arange(patches + text, device=device)
    return rank <= rank.clamp(min=patches - 1)[:, None]


def _by_sample(x: Tensor, runs: Sequence[ShapeRun]) -> Iterator[Tensor]:
    """[n h d] -> for each run [s l h d]: the text of a sample behind its patches, which lie apart in a pack."""
    patches = [run.samples * run.patches for run in runs]
    parts = x.split(patches + [run.samples * run.text for run in runs])
    for i, run in enumerate(runs):
        sides = parts[i].unflatten(0, (run.samples, run.patches)), parts[len(runs) + i].unflatten(0, (run.samples, run.text))
        yield torch.cat(sides, dim=1)


def _attend(q: Tensor, k: Tensor, v: Tensor, run: ShapeRun) -> tuple[Tensor, Tensor]:
    """[s m h d] queries over [s l h d] keys -> reads [s m h d], weights [s h m l]."""
    visible = visible_rows(run.patches, run.text, q.device)
    if q.shape[1] < len(visible):  # predicting: the last token has none to predict
        visible = visible[run.patches - 1 : -1]
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("sqhd,skhd->shqk", q.to(wide), k.to(wide)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
    return torch.einsum("shqk,skhd->sqhd", weights, v.to(wide)).to(q.dtype), weights
