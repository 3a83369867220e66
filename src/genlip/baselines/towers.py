"""Towers: the vision encoder of a baseline, its pooling, and a tower of blocks over text.

In: a `Pack`. Out: features of patches, a vector of each image, or a vector of each text. All blocks are GenLIP's.

Axes: s samples, p patches, t text tokens of a pack, D width.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from genlip.baselines.rows import SampleAttention
from genlip.model.config import GenLIPConfig
from genlip.model.device_transfer import on_device
from genlip.model.genlip import GenLIP
from genlip.model.layers import MLP, Block, SwiGLU
from genlip.model.pack import Pack
from genlip.model.positions import Rotary, rotary_tables

__all__ = ["AttentionPool", "TextTower", "encoder_alone", "text_places", "text_rotary", "xavier"]


def encoder_alone(config: GenLIPConfig, attention: str) -> GenLIP:
    """A GenLIP for `encode` alone: its vocabulary has one entry, and its text parameters are not trained."""
    model = GenLIP(dataclasses.replace(config, vocab_size=1, text_embed_dim=1), attention)
    for part in (model.embeddings, model.in_proj, model.proj, model.lm_head):
        part.requires_grad_(False)
    return model


class AttentionPool(nn.Module):
    """SigLIP's head: a learned query attends to the patches of each image; a feed-forward network follows."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Parameter(torch.empty(1, width).normal_(std=0.02))
        self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = SwiGLU(config) if config.use_swiglu_ffn else MLP(config)

    def forward(self, features: Tensor, counts: tuple[int, ...]) -> Tensor:
        """Float[p D], features of all images of a pack, and patches of each -> Float[s D]."""
        attend = SampleAttention([1] * len(counts), counts)
        query = self.query.expand(len(counts), -1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)) for x in (query, self.k_proj(features), self.v_proj(features)))
        pooled = self.out_proj(attend(0, q.to(k.dtype), k, v).flatten(1))
        return pooled + self.mlp(self.norm(pooled))


class TextTower(nn.Module):
    """Embedding and blocks over the texts of a pack, alone; the vector of a text is that of its last token."""

    def __init__(self, config: GenLIPConfig, causal: bool) -> None:
        super().__init__()
        self.config, self.causal = config, causal
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, pack: Pack) -> Tensor:
        """Float[s D]. Every sample has text."""
        lengths = pack.text_lengths
        x = self.embeddings(pack.token_ids).to(self.norm.weight.dtype)
        attend, rotary = SampleAttention(lengths, lengths, self.causal), text_rotary(pack, self.config, x.dtype)
        for layer, block in enumerate(self.layers):
            x = block(x, rotary, partial(attend, layer))
        last = on_device(np.cumsum(lengths) - 1, x.device)
        return self.head(self.norm(x[last]))


def xavier(*projections: nn.Linear) -> None:
    """Draw projections of an attention as GenLIP draws its own."""
    for projection in projections:
        nn.init.xavier_uniform_(projection.weight)


def text_places(pack: Pack, width: int) -> Tensor:
    """Float[t width], sines and cosines of the place of each token in its text (Vaswani et al., arXiv 1706.03762)."""
    places = _places(pack)
    half = (width + 1) // 2
    angles = places[:, None] / 10_000 ** (np.arange(half) / half)
    return on_device(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :width], pack.positions.device)


def text_rotary(pack: Pack, config: GenLIPConfig, dtype: torch.dtype) -> Rotary:
    """Angles of the text tokens, counted from 0 in each text."""
    places = _places(pack)
    positions = on_device(np.broadcast_to(places, (3, len(places))).copy(), pack.positions.device)
    return rotary_tables(positions, config, torch.float64 if dtype == torch.float64 else torch.float32)


def _places(pack: Pack) -> np.ndarray:
    """Int64[t], the place of each token in its text."""
    return np.concatenate([np.arange(length) for length in pack.text_lengths])
