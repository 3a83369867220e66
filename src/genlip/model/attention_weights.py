"""Attention weights: attention over a pack that passes the weights of each layer to a callback.

In: what `GenLIP.trunk(pack, attend=...)` gives to any attention. Out: the same attention output, so the forward pass goes on
as usual. Fused kernels never store the weights. Here they are computed by definition, for some samples of equal shape at a
time, so memory grows with the square of a sample and not of the pack. For measuring, not for training or serving.

Axes: n rows of the pack, s samples of equal shape, l rows of one of them (its patches, then its text), m of these with a
    query, h heads, d head dimension.
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
        weights: Float[s h m l], in float32 or wider; each row sums to 1 and is 0 where the query may not attend. All m = l
            rows have a query; if `predicting`, only the m rows before each text token.
    """

    layer: int
    first: int
    patches: int
    weights: Tensor


class RecordingAttention:
    """Attention over one pack that reports its weights: `model.trunk(pack, attend=RecordingAttention(pack, callback))`.

    pack      the pack that the trunk reads
    callback  is called with `Weights`, layer by layer, samples in order; it may keep or change the tensor
    """

    def __init__(self, pack: Pack, callback: Callable[[Weights], None]) -> None:
        self.pack = pack
        self.callback = callback

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> Tensor:
        """The attention output of each query.

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
                self.callback(Weights(layer, first + start, run.patches, weights))
            first += run.samples
        patches, text = [read[:, :at] for read, at in reads], [read[:, at:] for read, at in reads]
        return torch.cat([part.flatten(0, 1) for part in patches + text])


def visible_rows(patches: int, text: int, device: torch.device | None = None) -> Tensor:
    """Bool[l l]: may the row of a sample attend to the column? Patches see patches; text sees them and its own past."""
    position = torch.arange(patches + text, device=device)
    return position <= position.clamp(min=patches - 1)[:, None]


def _by_sample(x: Tensor, runs: Sequence[ShapeRun]) -> Iterator[Tensor]:
    """[n h d] -> for each run [s l h d]: the each sample's patches, then its text; in a pack the two are apart."""
    patches = [run.samples * run.patches for run in runs]
    parts = x.split(patches + [run.samples * run.text for run in runs])
    for i, run in enumerate(runs):
        sides = parts[i].unflatten(0, (run.samples, run.patches)), parts[len(runs) + i].unflatten(0, (run.samples, run.text))
        yield torch.cat(sides, dim=1)


def _attend(q: Tensor, k: Tensor, v: Tensor, run: ShapeRun) -> tuple[Tensor, Tensor]:
    """[s m h d] queries over [s l h d] keys -> reads [s m h d], weights [s h m l]."""
    visible = visible_rows(run.patches, run.text, q.device)
    if q.shape[1] < len(visible):  # predicting: no row follows the last token
        visible = visible[run.patches - 1 : -1]
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("sqhd,skhd->shqk", q.to(wide), k.to(wide)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
    return torch.einsum("shqk,skhd->sqhd", weights, v.to(wide)).to(q.dtype), weights
