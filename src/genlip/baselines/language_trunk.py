"""Language trunk: a GenLIP whose blocks are those of a language model, as in SAIL (arXiv 2504.10462).

In: the sizes of a language model of LLaMA's shape (Llama, Qwen2, Qwen3, Mistral). Out: a model that reads packs as `GenLIP`
does: patches see all patches of their image, text sees what is before it, and positions have three axes. On text alone it
computes what the language model computes. Parameters of blocks carry the language model's names.

Axes: n rows of a pack, D width, h heads, k key heads, d head dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load
from genlip.model.genlip import GenLIP
from genlip.model.layers import reset_parameters
from genlip.model.positions import Rotary, rotary_tables, rotate

__all__ = ["LanguageSizes", "LanguageTrunk", "language_trunk_flops"]

_OPEN = 4.0  # bias of new gates, which let 98 % through


class LanguageSizes(NamedTuple):
    """What GenLIP's config cannot say of a language model.

    Attributes:
        key_heads: heads of keys and values, each shared by several query heads.
        head_dim: width of a head.
        norm_heads: whether queries and keys are normalised in each head, as in Qwen3.
        biased: whether queries, keys and values have biases, as in Qwen2.
        gated: whether attention has GenLIP's gate, which the language model lacks.
    """

    key_heads: int
    head_dim: int
    norm_heads: bool
    biased: bool
    gated: bool

    @classmethod
    def read(cls, config: Any, gated: bool) -> LanguageSizes:
        """Out of a Transformers config. Raises ValueError for a model of another shape."""
        kind = config.model_type
        if kind not in ("llama", "qwen2", "qwen3", "mistral"):
            raise ValueError(f"a language model of type {kind}: need one of LLaMA's shape: llama, mistral, qwen2 or qwen3")
        given = dict(config.rope_parameters or {})
        if given.get("rope_type", "default") != "default" or config.hidden_act != "silu":
            raise ValueError(
                f"rope_parameters {given} and hidden_act {config.hidden_act}: need the default rotation and silu"
            )
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        biased = kind == "qwen2" or bool(getattr(config, "attention_bias", False))
        return cls(config.num_key_value_heads, head_dim, kind == "qwen3", biased, gated)


def trunk_config(config: GenLIPConfig, language: Any) -> GenLIPConfig:
    """GenLIP's config with the sizes of a language model; patches and vocabulary stay."""
    return dataclasses.replace(
        config,
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=language.num_hidden_layers,
        num_attention_heads=language.num_attention_heads,
        text_embed_dim=None,
        mrope_section=None,
        layer_norm_eps=language.rms_norm_eps,
        rope_theta=float(language.rope_parameters["rope_theta"]),
    )


class _Attention(nn.Module):
    """Grouped-query attention, with a gate if the sizes say so."""

    def __init__(self, config: GenLIPConfig, sizes: LanguageSizes) -> None:
        super().__init__()
        width, heads, head = config.hidden_size, config.num_attention_heads, sizes.head_dim
        self.shared = heads // sizes.key_heads
        self.q_proj = nn.Linear(width, heads * head, bias=sizes.biased)
        self.k_proj = nn.Linear(width, sizes.key_heads * head, bias=sizes.biased)
        self.v_proj = nn.Linear(width, sizes.key_heads * head, bias=sizes.biased)
        self.o_proj = nn.Linear(heads * head, width, bias=False)
        norm = (lambda: nn.RMSNorm(head, eps=config.layer_norm_eps)) if sizes.norm_heads else nn.Identity
        self.q_norm, self.k_norm = norm(), norm()
        self.head_dim = head
        self.gate = nn.Linear(width, heads * head) if sizes.gated else None

    def forward(self, x: Tensor, rotary: Rotary, attend: Callable[..., Tensor], rows: Tensor | None = None) -> Tensor:
        """Float[n D] -> Float[n D], or only the given rows."""
        inputs, turn = (x, rotary) if rows is None else (x[rows], Rotary(rotary.cos[rows], rotary.sin[rows]))
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in (self.q_proj(inputs), self.k_proj(x), self.v_proj(x)))
        q, k = rotate(self.q_norm(q), turn), rotate(self.k_norm(k), rotary)
        k, v = (part.repeat_interleave(self.shared, dim=1) for part in (k, v))
        read = attend(q, k, v, predicting=rows is not None).flatten(1)
        return self.o_proj(read if self.gate is None else read * self.gate(inputs).sigmoid())


class _FeedForward(nn.Module):
    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _LanguageBlock(nn.Module):
    """Called as `genlip.model.layers.Block`; no DropPath."""

    def __init__(self, config: GenLIPConfig, sizes: LanguageSizes) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = _Attention(config, sizes)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _FeedForward(config)

    def forward(
        self, x: Tensor, rotary: Rotary, attend: Callable[..., Tensor], rows: Tensor | None = None, paths: None = None
    ) -> Tensor:
        read = self.self_attn(self.input_layernorm(x), rotary, attend, rows)
        x = (x if rows is None else x[rows]) + read
        return x + self.mlp(self.post_attention_layernorm(x))


class LanguageTrunk(GenLIP):
    """See the module. The last norm of the language model takes the place of `ln_post`."""

    def __init__(self, config: GenLIPConfig, sizes: LanguageSizes, attention: str = "sdpa") -> None:
        super().__init__(dataclasses.replace(config, num_hidden_layers=1, gated_attention=sizes.gated), attention)
        self.config = config
        self.visual["layers"] = nn.ModuleList(_LanguageBlock(config, sizes) for _ in range(config.num_hidden_layers))
        self.ln_post = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)  # type: ignore[assignment]
        self._turned = dataclasses.replace(config, hidden_size=config.num_attention_heads * sizes.head_dim)
        reset_parameters(self.visual)
        for block in self.blocks:
            for linear in (one for one in block.modules() if isinstance(one, nn.Linear)):
                nn.init.xavier_uniform_(linear.weight)

    def rotary(self, positions: Tensor, dtype: torch.dtype) -> Rotary:
        """See `GenLIP.rotary`; heads may be wider than the trunk divided by their number."""
        return rotary_tables(positions, self._turned, dtype)

    @torch.no_grad()
    def start_from(self, language: nn.Module, words: bool) -> None:
        """Take the weights of a language model; new gates are almost open.

        words  also those of the token embedding and the head, whose vocabulary must be the same
        """
        given = language.state_dict()
        own = {name: value for name, value in self.visual["layers"].state_dict().items() if ".gate." not in name}
        for name, value in own.items():
            value.copy_(given[f"model.layers.{name}"])
        self.ln_post.weight.copy_(given["model.norm.weight"])
        if words:
            self.embeddings.weight.copy_(given["model.embed_tokens.weight"])
            self.lm_head.weight.copy_(given["lm_head.weight"])
        for attention in (part for part in self.modules() if isinstance(part, _Attention)):
            if attention.gate is not None:
                nn.init.zeros_(attention.gate.weight)
                nn.init.constant_(attention.gate.bias, _OPEN)


def language_trunk_flops(config: GenLIPConfig, sizes: LanguageSizes, load: Load) -> float:
    """Work of a forward and a backward pass, counted as `genlip.model.flops` does."""
    width, attended = config.hidden_size, config.num_attention_heads * sizes.head_dim
    blocks = config.num_hidden_layers - 1  # the last one has queries at text only
    queried, keyed = blocks * load.rows + load.text, (blocks + 1) * load.rows
    queries = 2 * width * attended * (3 if sizes.gated else 2)
    keys = 4 * width * sizes.key_heads * sizes.head_dim
    of_blocks = (queries + 6 * width * config.intermediate_size) * queried + keys * keyed
    scores = 4 * attended * (blocks * load.pairs + load.last_pairs)
    head = 2 * width * config.vocab_size * load.text
    return 3 * (of_blocks + scores + head) + 4 * config.patch_dim * width * load.patches  # no gradient flows into pixels
