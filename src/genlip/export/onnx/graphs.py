"""Graphs: a GenLIP as three functions for ONNX Runtime, written for tracing.

In: a model. Out: modules for images without text (`EncoderGraph`), for images before a caption (`PrefillGraph`), and for the
next tokens of a caption (`StepGraph`). All images of a call have the same size. The rows of all samples are concatenated, as
the model's own blocks expect; only attention splits them by sample. Keys and values of all layers are one array, the
*cache*, so that callers pass a single array. Copying it costs little compared with reading the weights.

Axes: b images, C channels, H, W pixels, N patches of an image, T tokens of a step, n rows that the cache holds,
h heads, d head dimension, D trunk width, V vocabulary.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.model.genlip import GenLIP
from genlip.model.positions import Rotary, rotary_tables

__all__ = ["EncoderGraph", "PrefillGraph", "StepGraph"]


class EncoderGraph(nn.Module):
    """Images -> features of every patch."""

    def __init__(self, model: GenLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Float[b C H W] in [-1, 1] -> Float[b N D]"""
        rows, _ = _read_images(self.model, pixel_values)
        return self.model.ln_post(rows)


class PrefillGraph(nn.Module):
    """Images -> logits after the last patch, and the cache of the patches."""

    def __init__(self, model: GenLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Float[b C H W] in [-1, 1] -> logits Float[b V], cache Float[layers 2 b h N d]"""
        rows, cache = _read_images(self.model, pixel_values)
        return _last_logits(self.model, rows), cache


class StepGraph(nn.Module):
    """Tokens after a cache -> logits after the last token, and the extended cache. A prompt is one step of many tokens."""

    def __init__(self, model: GenLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor, position: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """The next T tokens of every caption.

        token_ids  Int64[b T]
        position   Int64[b]  of the first of them: max(rows, columns) of the image, plus the tokens before it
        cache      Float[layers 2 b h n d]
        returns    logits Float[b V], cache Float[layers 2 b h n+T d]
        """
        batch, tokens = token_ids.shape
        place = (position.unsqueeze(1) + torch.arange(tokens, device=position.device)).flatten()
        rotary = rotary_tables(place.expand(3, -1), self.model.config)
        # Every token attends to the whole cache, to itself and to the tokens before it.
        visible = torch.ones(tokens, cache.shape[4] + tokens, dtype=torch.bool).tril(cache.shape[4])
        x = self.model.embed_tokens(token_ids.flatten())
        rows, cache = _run_blocks(self.model, x, rotary, batch, cache, visible)
        return _last_logits(self.model, rows), cache


def _read_images(model: GenLIP, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Float[b C H W] -> rows after the last block Float[b N D], cache Float[layers 2 b h N d]"""
    patches = model.patch_embedding(pixel_values)
    batch, width, rows, columns = patches.shape
    row = torch.arange(rows).unsqueeze(1).expand(rows, columns)
    column = torch.arange(columns).expand(rows, columns)
    place = torch.stack([torch.zeros_like(row), row, column]).flatten(1)
    rotary = rotary_tables(place.repeat(1, batch), model.config)
    x = patches.permute(0, 2, 3, 1).reshape(-1, width)
    return _run_blocks(model, x, rotary, batch)


def _run_blocks(
    model: GenLIP, x: Tensor, rotary: Rotary, batch: int, cache: Tensor | None = None, visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rows of b equal samples, Float[b*T D] -> rows Float[b T D], and the cache extended by their keys and values."""
    grown: list[Tensor] = []

    def attend(layer: int, *rows: Tensor, predicting: bool = False) -> Tensor:
        """Queries, keys and values, each Float[b*T h d], and the cache's -> Float[b*T h d]"""
        q, k, v = (part.unflatten(0, (batch, -1)).transpose(1, 2) for part in rows)
        if cache is not None:
            k, v = torch.cat([cache[layer, 0], k], dim=2), torch.cat([cache[layer, 1], v], dim=2)
        grown.append(torch.stack([k, v]))
        return F.scaled_dot_product_attention(q, k, v, visible).transpose(1, 2).flatten(0, 1)

    for layer, block in enumerate(model.blocks):
        x = block(x, rotary, partial(attend, layer))
    return x.unflatten(0, (batch, -1)), torch.stack(grown)


def _last_logits(model: GenLIP, rows: Tensor) -> Tensor:
    """Float[b T D] after the last block -> Float[b V], logits of the token after each sample's last row."""
    return model.speak(model.ln_post(rows[:, -1]))
