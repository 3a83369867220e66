"""Layers of the transformer: gated attention, feed-forward networks, LayerScale, DropPath, and the block made of them.

In: rows of a pack, Float[n, D]. Out: the same rows after one block.
Attribute names are those of published checkpoints, so a state dict is loaded without renaming.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.model.config import GenLIPConfig
from genlip.model.positions import Rotary, rotate

__all__ = ["MLP", "Block", "GatedAttention", "LayerScale", "SwiGLU", "drop_path", "reset_parameters"]

ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


class GatedAttention(nn.Module):
    """Attention whose output is multiplied by sigmoid(gate), the gate being the second half of `q_proj`.

    Without the gate, attention collapses onto the first patch (the paper's attention sink).
    """

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.gated = config.gated_attention
        self.q_proj = nn.Linear(width, 2 * width if self.gated else width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotary: Rotary, attend: Callable[..., Tensor], rows: Tensor | None = None) -> Tensor:
        """Float[n, D] -> Float[n, D], or only the given rows: Int64[m] -> Float[m, D]."""
        inputs, turn = (x, rotary) if rows is None else (x[rows], Rotary(rotary.cos[rows], rotary.sin[rows]))
        q, *gate = self.q_proj(inputs).split(x.shape[-1], dim=-1)
        k, v = self.k_proj(x), self.v_proj(x)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        read = attend(rotate(q, turn), rotate(k, rotary), v, predicting=rows is not None).flatten(1)
        return self.out_proj(read * gate[0].sigmoid() if gate else read)


class SwiGLU(nn.Module):
    """fc2(act(gate_fc(x)) * fc1(x)), the gated feed-forward network; act is silu."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.act = ACTIVATION[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.gate_fc = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Float[n, D] -> Float[n, D]"""
        return self.fc2(self.act(self.gate_fc(x)) * self.fc1(x))


class MLP(nn.Module):
    """fc2(act(fc1(x))), the plain feed-forward network."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.act = ACTIVATION[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Float[n, D] -> Float[n, D]"""
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor for each channel of a branch."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.lambda1 = nn.Parameter(torch.full((width,), float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        """Float[n, D] -> Float[n, D]"""
        return x * self.lambda1


def drop_path(rate: float, sample: Tensor, samples: int, dtype: torch.dtype) -> Tensor:
    """Float[n 1], factors of a branch: 0 for whole samples with probability `rate`, 1 / (1 - rate) for the others.

    sample    Int64[n]  number of the sample of each row, below `samples`
    """
    kept = torch.rand(samples, device=sample.device) >= rate
    return (kept.to(dtype) / (1 - rate))[sample].unsqueeze(1)


class Block(nn.Module):
    """x + LayerScale1(attention(norm1(x))), then x + LayerScale2(ffn(norm2(x))), both with DropPath if `paths` are given.

    It takes no pack: torch.compile would recompile the block for each new number of samples.
    """

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        width, scale = config.hidden_size, config.ls_init_value
        self.layer_norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.self_attn = GatedAttention(config)
        self.layer_scale1 = LayerScale(width, scale) if scale else nn.Identity()
        self.layer_norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = SwiGLU(config) if config.use_swiglu_ffn else MLP(config)
        self.layer_scale2 = LayerScale(width, scale) if scale else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rotary: Rotary,
        attend: Callable[..., Tensor],
        rows: Tensor | None = None,
        paths: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """One block over the rows of a pack: Float[n D], or only the given rows, Float[m D].

        x       Float[n D]
        attend  attention of this layer, called with q, k, v
        rows    Int64[m]
        paths   Float[n 1] each, factors from `drop_path` for the two branches
        """
        branch = self.layer_scale1(self.self_attn(self.layer_norm1(x), rotary, attend, rows))
        if rows is not None:
            x, paths = x[rows], paths and (paths[0][rows], paths[1][rows])
        x = x + (branch * paths[0] if paths else branch)
        branch = self.layer_scale2(self.mlp(self.layer_norm2(x)))
        return x + (branch * paths[1] if paths else branch)


@torch.no_grad()
def reset_parameters(model: nn.Module) -> None:
    """Xavier-uniform in attention and feed-forward, N(0, 0.02) elsewhere, zero biases (1e-6 noise in the FFN)."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, LayerScale):
            nn.init.constant_(module.lambda1, module.initial)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    for branch in model.modules():
        if isinstance(branch, (GatedAttention, SwiGLU, MLP)):
            for linear in branch.children():
                if isinstance(linear, nn.Linear):
                    nn.init.xavier_uniform_(linear.weight)
                    if not isinstance(branch, GatedAttention):
                        nn.init.normal_(linear.bias, std=1e-6)
