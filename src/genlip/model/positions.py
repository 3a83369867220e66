"""Positions: the place of every patch and token on three axes, and the rotation for it (MRoPE).

In: grids of patches and text lengths. Out: positions (time, row, column), then the cosines and sines of the rotary angles.
A patch at row r and column c has position (0, r, c). Text token k has position max(rows, columns) + k on all three axes.

Axes: n rows of a pack, h heads, d head dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genlip.model.config import GenLIPConfig
from genlip.model.device_transfer import on_device

__all__ = ["Rotary", "channel_axes", "patch_positions", "rotary_tables", "rotate", "text_positions"]


def patch_positions(rows: int, columns: int) -> np.ndarray:
    """Int64[3, rows*columns]: (0, r, c) of every patch, row-major."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.stack([np.zeros_like(row), row, column])


def text_positions(grid: tuple[int, int], length: int) -> np.ndarray:
    """Int64[3, length]: text continues after the largest patch coordinate, with the same position on all axes."""
    return np.broadcast_to(max(grid) + np.arange(length), (3, length))


def channel_axes(config: GenLIPConfig) -> Tensor:
    """Int64[d/2]: the axis (0 time, 1 row, 2 column) from which each rotary channel takes its position."""
    half, (time, row, column) = config.head_dim // 2, config.mrope_section or (0, 0, 0)
    if not config.mrope_interleaved:
        return torch.tensor([0] * time + [1] * row + [2] * column)
    axes = torch.zeros(half, dtype=torch.long)
    axes[1 : 3 * row : 3] = 1  # slices are clamped to d/2, as in the published L/16
    axes[2 : 3 * column : 3] = 2
    return axes


class Rotary(NamedTuple):
    """Float32[n, 1, d/2] cosines and sines, the same for every head; float64 for a float64 model."""

    cos: Tensor
    sin: Tensor


def rotary_tables(positions: Tensor, config: GenLIPConfig, dtype: torch.dtype = torch.float32) -> Rotary:
    """Angles of Int[3, n] positions: position on the channel's axis times theta^(-2j/d)."""
    half = config.head_dim // 2
    channel = torch.arange(half, dtype=torch.float32, device=positions.device)
    frequency = 1.0 / config.rope_theta ** (2 * channel / config.head_dim)
    place = positions[on_device(channel_axes(config), positions.device)].T  # [n, d/2]
    angle = (place.to(dtype) * frequency.to(dtype)).unsqueeze(1)
    return Rotary(angle.cos(), angle.sin())


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn each pair of channels (j, j + d/2) of Float[n, h, d] by its angle.

    Computed in the tables' precision: bfloat16 would merge positions above 256.
    """
    if torch.compiler.is_compiling():  # the compiler fuses these operations itself
        first, second = x.to(rotary.cos.dtype).chunk(2, dim=-1)
        turned = (first * rotary.cos - second * rotary.sin, second * rotary.cos + first * rotary.sin)
        return torch.cat(turned, dim=-1).to(x.dtype)
    return _Rotate.apply(x, rotary.cos, rotary.sin)


class _Rotate(torch.autograd.Function):
    """The rotation; its gradient is the rotation back, which saves autograd's seven intermediate tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.to(cos.dtype).chunk(2, dim=-1)
    out = torch.empty(x.shape, dtype=cos.dtype, device=x.device)
    out_first, out_second = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)
    return out.to(x.dtype)
