"""Attention mass: where the attention of a model goes, in every layer and head, while it reads images and their captions.

In: a model and samples. Out: an `AttentionMass`: the shares of attention from patches and from caption tokens to others, the
same shares if attention were spread evenly, the mean gates, and the norm of the first patch's state.

Of the text, only rows that predict a supervised token count: no loss was ever applied to predictions of the others, such as
the last end token. The model reads the true caption; no caption is generated.

Axes: s samples, L layers, h heads, l rows of a sample (its patches, then its text), t its text, n rows of the pack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from genlip.data.packing import by_shape
from genlip.model.attention_weights import RecordingAttention, Weights, visible_rows
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

__all__ = ["MASSES", "AttentionMass", "attention_mass", "predicts_supervised"]

# From whom, to what; "first token" is the paper's word for the first patch. Text's shares of patches and of text sum to 1.
MASSES = (
    "patches to first token",
    "text to first token",
    "text to other patches",
    "text to patches",
    "text to text",
)


@dataclass(frozen=True)
class AttentionMass:
    """Of samples, in the order given.

    Attributes:
        masses: Float64[s L h 5], in [0, 1], the `MASSES`: means over a sample's patches, or over its text rows that count.
        even: Float64[s 5], the same if each row spread its attention evenly over all that it may see.
        gates: Float64[s L 2], in [0, 1], the mean gate at patches and at text rows that count; None for a model without.
        norms: Float64[s L], length of the first patch's state after a block, over the median length of its image's patches.
    """

    masses: np.ndarray
    even: np.ndarray
    gates: np.ndarray | None
    norms: np.ndarray


def predicts_supervised(sample: Sample) -> bool:
    """Whether a text row of the sample predicts a supervised token: without a prompt, the first is predicted by a patch."""
    return bool(np.asarray(sample.supervised, dtype=bool)[1:].any())


@torch.inference_mode()
def attention_mass(model: GenLIP, samples: Sequence[Sample]) -> AttentionMass:
    """Measure samples in one pass of a model in evaluation mode. Raises ValueError unless all `predicts_supervised`."""
    if mute := [number for number, sample in enumerate(samples) if not predicts_supervised(sample)]:
        raise ValueError(
            f"sample {mute[0]} has no text row that predicts a supervised token: leave it out, or give a prompt"
        )
    order = by_shape(samples)
    pack = Pack.of([samples[i] for i in order]).to(model.device)
    width = torch.promote_types(model.ln_post.weight.dtype, torch.float32)
    shares = _shares(pack, width)
    masses = shares.new_empty(len(samples), len(model.blocks), model.config.num_attention_heads, len(MASSES))
    texts = np.cumsum((0, *pack.text_lengths)).tolist()

    def record(part: Weights) -> None:
        end = part.first + len(part.weights)
        share = shares[texts[part.first] : texts[end]].unflatten(0, (len(part.weights), -1))
        masses[part.first : end, part.layer] = _masses(part.weights, part.patches, share)

    with _following(model) as (gates, norms):
        model.trunk(pack, attend=RecordingAttention(pack, record))
    even = _even(pack, shares, texts)
    found = (_array(masses), _array(even), _at_rows(gates, pack, shares) if gates else None, _first_patch(norms, pack))
    back = np.argsort(order)
    return AttentionMass(*(None if part is None else part[back] for part in found))  # type: ignore[arg-type]


def _shares(pack: Pack, dtype: torch.dtype) -> Tensor:
    """Float[t], the part of each text row in the mean of its sample: 0 for those that do not count."""
    sample = pack.sample_of_row[pack.num_patches :]
    asked = torch.zeros(len(sample), dtype=dtype, device=sample.device)
    asked[:-1] = pack.supervised[1:] & (sample[1:] == sample[:-1])
    return asked / asked.new_zeros(len(pack.grids)).index_add_(0, sample, asked)[sample]


def _masses(weights: Tensor, patches: int, share: Tensor) -> Tensor:
    """Float[s h l l] weights and Float[s t] parts of the text rows -> Float[s h 5], the `MASSES`."""
    text = torch.einsum("shtl,st->shl", weights[:, :, patches:], share)
    first, other = text[..., 0], text[..., 1:patches].sum(dim=-1)
    return torch.stack(
        [weights[:, :, :patches, 0].mean(dim=-1), first, other, first + other, text[..., patches:].sum(dim=-1)], dim=-1
    )


def _even(pack: Pack, shares: Tensor, texts: Sequence[int]) -> Tensor:
    """Float[s 5], the `MASSES` of attention that is spread evenly."""
    found = []
    for sample, (patches, text) in enumerate(zip(pack.patch_counts, pack.text_lengths, strict=True)):
        visible = visible_rows(patches, text, shares.device).to(shares)
        weights = visible / visible.sum(dim=-1, keepdim=True)
        share = shares[texts[sample] : texts[sample + 1]]
        found.append(_masses(weights[None, None], patches, share[None])[0, 0])
    return torch.stack(found)


# -- Gates and states


@contextmanager
def _following(model: GenLIP) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Two lists that a pass fills, a Float[n] for each layer: mean gate of each row, length of its state after the block."""
    gates: list[Tensor] = []
    norms: list[Tensor] = []

    def gate(_: nn.Module, __: object, asked: Tensor) -> None:
        gates.append(_wide(asked).chunk(2, dim=-1)[1].sigmoid().mean(dim=-1))

    def norm(_: nn.Module, __: object, state: Tensor) -> None:
        norms.append(_wide(state).norm(dim=-1))

    hooks = [block.register_forward_hook(norm) for block in model.blocks]
    if model.config.gated_attention:
        hooks += [block.self_attn.q_proj.register_forward_hook(gate) for block in model.blocks]  # type: ignore[union-attr]
    try:
        yield gates, norms
    finally:
        for hook in hooks:
            hook.remove()


def _at_rows(gates: Sequence[Tensor], pack: Pack, shares: Tensor) -> np.ndarray:
    """Float[n] of each layer -> Float64[s L 2]: means over patches, and over the text rows that count."""
    patches, text = torch.stack(list(gates)).split([pack.num_patches, len(pack.token_ids)], dim=1)
    means = [part.mean(dim=1) for part in patches.split(list(pack.patch_counts), dim=1)]
    asked = [part.sum(dim=1) for part in (text * shares).split(list(pack.text_lengths), dim=1)]
    return _array(torch.stack([torch.stack(means), torch.stack(asked)], dim=-1))


def _first_patch(norms: Sequence[Tensor], pack: Pack) -> np.ndarray:
    """Float[n] of each layer -> Float64[s L]: of the first patch over the median."""
    lengths = _array(torch.stack(list(norms)))[:, : pack.num_patches]
    images = np.split(lengths, np.cumsum(pack.patch_counts)[:-1], axis=1)
    return np.stack([image[:, 0] / np.median(image, axis=1) for image in images])


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _array(x: Tensor) -> np.ndarray:
    return x.cpu().double().numpy()
