"""Decoder: the trunk on one more token of every sample, with a KV cache of all earlier rows.

In: a model and a pack. Out: hidden rows, first of the pack, then of each new token.
The cost of a step on one image is that of reading the weights, so all other work is kept small. Weights with the same input
are concatenated, and LayerScale is multiplied into them, once per caption. Each layer writes its key and value into one
buffer in place.

Axes: s samples, c capacity of the buffer, h heads, d head dimension, D trunk width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.model.cache import Cache
from genlip.model.genlip import GenLIP
from genlip.model.layers import Block, SwiGLU
from genlip.model.pack import Pack
from genlip.model.positions import rotary_tables

__all__ = ["Decoder"]


class Decoder:
    """Reads a pack, then takes one token per sample at a time. For inference mode.

    Attributes:
        first: Float[s D] after the last block, each sample's last row of the pack.
        store: Float[layers 2 s h c d], keys and values; of a shorter sample, the end is unused.
    """

    def __init__(self, model: GenLIP, pack: Pack, steps: int) -> None:
        """At most `steps` tokens can be appended to each sample."""
        cache = Cache.of(model, pack, steps)
        self.model, self.longest, self.taken = model, max(cache.lengths), 0
        self.even = min(cache.lengths) == self.longest
        self.lengths = torch.tensor(cache.lengths, device=model.device)
        self.samples = torch.arange(len(cache.lengths), device=model.device)
        self.store, self.first = cache.store, cache.last
        self.layers = [_Layer.of(block, self.store.dtype) for block in model.blocks]  # type: ignore[arg-type]
        self.turns = _turns(model, cache.starts, steps)

    def step(self, token: Tensor) -> Tensor:
        """Append one token per sample, Int64[s]. Returns their rows after the last block, Float[s D]."""
        x = self.model.embed_tokens(token).to(self.first.dtype)
        place = self.longest + self.taken
        visible = None if self.even else torch.arange(place + 1, device=x.device) <= (self.lengths + self.taken)[:, None]
        for number, layer in enumerate(self.layers):
            x = x + self._attend(number, layer, x, None if visible is None else visible[:, None, None])
            x = x + layer.feed_forward(x)
        self.taken += 1
        return x

    def _attend(self, number: int, layer: _Layer, x: Tensor, visible: Tensor | None) -> Tensor:
        """Append the keys and values of the new rows, then attend to all rows of their samples."""
        width = x.shape[-1]
        query_key, value, gate = layer.project_in(x).split([2 * width, width, width if layer.gated else 0], dim=-1)
        turned = _turn(query_key.unflatten(-1, (2, *self.store.shape[3::2])), self.turns[self.taken])
        keys, values = self.store[number]
        value = value.unflatten(-1, keys.shape[1::2])
        if self.even:
            keys[:, :, self.longest + self.taken], values[:, :, self.longest + self.taken] = turned[:, 1], value
        else:
            at = self.lengths + self.taken
            keys[self.samples, :, at], values[self.samples, :, at] = turned[:, 1], value
        filled = slice(0, self.longest + self.taken + 1)
        read = F.scaled_dot_product_attention(turned[:, 0].unsqueeze(2), keys[:, :, filled], values[:, :, filled], visible)
        read = read.flatten(1)
        return layer.project_out(read * gate.sigmoid_() if layer.gated else read)


@dataclass(frozen=True)
class _Layer:
    """A block's weights as a step uses them, each Float[out in] with its bias."""

    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    gated: bool
    qkv_gate: tuple[Tensor, Tensor]  # query, key, value, gate
    out: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]  # SwiGLU: first the part that is activated, then the part that it multiplies
    down: tuple[Tensor, Tensor]
    act: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, block: Block, dtype: torch.dtype) -> _Layer:
        attention, mlp = block.self_attn, block.mlp
        q, *gate = zip(*(part.split(attention.k_proj.out_features) for part in _parts(attention.q_proj)), strict=True)
        qkv_gate = [q, _parts(attention.k_proj), _parts(attention.v_proj), *gate]
        up = [mlp.gate_fc, mlp.fc1] if isinstance(mlp, SwiGLU) else [mlp.fc1]
        return cls(
            block.layer_norm1, block.layer_norm2, attention.gated,
            _side_by_side(qkv_gate, dtype), _scaled(attention.out_proj, block.layer_scale1, dtype),
            _side_by_side(list(map(_parts, up)), dtype), _scaled(mlp.fc2, block.layer_scale2, dtype), mlp.act,
        )  # fmt: skip

    def project_in(self, x: Tensor) -> Tensor:
        """Float[s D] -> Float[s 4D] query, key, value, gate; without a gate Float[s 3D]"""
        return F.linear(self.norm1(x), *self.qkv_gate)

    def project_out(self, read: Tensor) -> Tensor:
        """Float[s D] -> Float[s D]"""
        return F.linear(read, *self.out)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Float[s D] -> Float[s D]"""
        active, *other = F.linear(self.norm2(x), *self.up).split(self.down[0].shape[1], dim=-1)
        active = self.act(active)
        return F.linear(active * other[0] if other else active, *self.down)


def _parts(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    if not isinstance(layer.weight, Tensor):
        raise ValueError("captions need the unquantised weights of the blocks; this model is quantised for encoding only")
    return layer.weight, layer.bias


def _side_by_side(layers: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weights, biases = zip(*layers, strict=True)
    return torch.cat(weights).to(dtype), torch.cat(biases).to(dtype)


def _scaled(layer: nn.Linear, scale: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The layer with the LayerScale that follows it, if there is one."""
    factor = getattr(scale, "lambda1", None)
    weight, bias = _parts(layer) if factor is None else (layer.weight * factor[:, None], layer.bias * factor)
    return weight.to(dtype), bias.to(dtype)


def _turns(model: GenLIP, starts: Tensor, steps: int) -> Tensor:
    """Float[steps 2 s 1 1 d]: for each step the cosines, and the sines with the sign that `_turn` needs."""
    place = starts + torch.arange(steps, device=model.device)[:, None]
    tables = torch.float64 if model.ln_post.weight.dtype == torch.float64 else torch.float32
    cos, sin = rotary_tables(place.flatten().expand(3, -1), model.config, tables)
    both = torch.stack([torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)])
    return both.view(2, steps, len(starts), 1, 1, -1).transpose(0, 1)


def _turn(x: Tensor, tables: Tensor) -> Tensor:
    """`positions.rotate` of [s 2 h d], in the tables' precision: the other half of each channel pair comes from `roll`."""
    cos, sin = tables
    wide = x.to(cos.dtype)
    return torch.addcmul(wide * cos, wide.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)
