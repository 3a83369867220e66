"""GenLIP: one transformer that reads an image's patches and predicts its caption (arXiv 2605.00809, section 3).

In: a `Pack`. Out: the caption loss, per-token losses or logits, encoder features, or the patch readout.
The features of the encoder are `ln_post` at the patches; patches never see text, so they do not depend on the caption.

Axes: n rows of a pack (p patches, then t text tokens), D trunk width, E text width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genlip.model.attention import PackAttention
from genlip.model.config import GenLIPConfig
from genlip.model.layers import Block, drop_path, reset_parameters
from genlip.model.objective import caption_loss, caption_losses
from genlip.model.pack import Pack
from genlip.model.positions import Rotary, rotary_tables

__all__ = ["GenLIP"]


class GenLIP(nn.Module):
    """The model of a `GenLIPConfig`; parameters carry the names of published checkpoints.

    Attributes:
        config: the sizes.
        attention: name of the attention backend, see `genlip.model.attention.BACKENDS`.
        activation_checkpointing: in training, store only the input of each block and recompute the rest in the backward
            pass.
    """

    def __init__(self, config: GenLIPConfig, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.activation_checkpointing = False
        self.compiled = False
        width, text_width = config.hidden_size, config.text_embed_dim or config.hidden_size
        patch = nn.Conv2d(config.num_channels, width, config.patch_size, stride=config.patch_size)
        self.vision_embeddings = nn.ModuleDict({"patch_embedding": patch})
        self.embeddings = nn.Embedding(config.vocab_size, text_width)
        self.in_proj = nn.Linear(text_width, width) if text_width != width else nn.Identity()
        self.visual = nn.ModuleDict({"layers": nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))})
        self.ln_post = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.proj = nn.Linear(width, text_width) if text_width != width else nn.Identity()
        self.lm_head = nn.Linear(text_width, config.vocab_size, bias=False)
        self.reset_parameters()

    @property
    def patch_embedding(self) -> nn.Conv2d:
        """The projection of patches; its weight is Float[D, C, P, P]."""
        return self.vision_embeddings["patch_embedding"]  # type: ignore[return-value]

    @property
    def blocks(self) -> nn.ModuleList:
        """The trunk's blocks, first to last."""
        return self.visual["layers"]  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.ln_post.weight.device

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        reset_parameters(self)

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile each block with torch.compile, for any number of rows.

        Attention is not compiled: its shapes vary too much.
        """
        self.compiled = True
        for block in self.blocks:
            block.compile(dynamic=True, backend=backend)

    def forward(self, pack: Pack) -> Tensor:
        """Float[], the summed loss of the supervised tokens; divide by their number in the whole global batch."""
        return caption_loss(self.predictions(pack), self.lm_head.weight, pack.token_ids, pack.supervised)

    def token_losses(self, pack: Pack) -> Tensor:
        """Float[t], the loss of every text token in nats; 0 where it is not supervised."""
        return caption_losses(self.predictions(pack), self.lm_head.weight, pack.token_ids, pack.supervised)

    def logits(self, pack: Pack) -> Tensor:
        """Float[t V], the logits that predict each text token. Holds t x V numbers; training never calls it."""
        return self.lm_head(self.predictions(pack))

    def encode(self, pack: Pack) -> Tensor:
        """Float[p D], the encoder's features of every patch of the pack: `ln_post` of the last block."""
        return self.ln_post(self.trunk(pack.without_text()))

    def speak(self, features: Tensor) -> Tensor:
        """Float[.. D] encoder features -> Float[.. V], the logits of the next token of each (patch readout)."""
        return self.lm_head(self.proj(features))

    def predictions(self, pack: Pack) -> Tensor:
        """Float[t E], inputs of the language head, one for each text token to predict."""
        return self.proj(self.ln_post(self.trunk(pack, predicting=True)))

    def trunk(self, pack: Pack, predicting: bool = False, attend: Callable[..., Tensor] | None = None) -> Tensor:
        """All blocks over a pack: Float[n D], or Float[t D] at `pack.predictors`.

        When predicting, the last block computes queries and feed-forward only at the rows that the loss reads.
        """
        attend = attend or PackAttention(pack, self.attention)
        if self.compiled:
            attend = torch.compiler.disable(attend)
        x = self.embed(pack)
        rotary = self.rotary(pack.positions, torch.float64 if x.dtype == torch.float64 else torch.float32)
        last = len(self.blocks) - 1
        again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)  # a block draws no random numbers
        for layer, block in enumerate(self.blocks):
            run = partial(again, block) if self.activation_checkpointing and torch.is_grad_enabled() else block
            rows = pack.predictors if predicting and layer == last else None
            x = run(x, rotary, partial(attend, layer), rows, self._paths(pack, x.dtype))
        return x

    def rotary(self, positions: Tensor, dtype: torch.dtype) -> Rotary:
        """The rotation of queries and keys at Int[3, n] positions."""
        return rotary_tables(positions, self.config, dtype)

    def _paths(self, pack: Pack, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """Random factors of DropPath for the two branches of a block; None outside training."""
        if not self.training or not self.config.drop_path_rate:
            return None
        draw = partial(drop_path, self.config.drop_path_rate, pack.sample_of_row, len(pack.grids), dtype)
        return draw(), draw()

    def embed(self, pack: Pack) -> Tensor:
        """Float[n D], patches and tokens before the first block."""
        rows = torch.cat([self.embed_patches(pack.patches), self.embed_tokens(pack.token_ids)])
        return rows.to(self.ln_post.weight.dtype)  # the residual stream keeps the weights' precision under autocast

    def embed_patches(self, patches: Tensor) -> Tensor:
        """[p C*P*P] -> Float[p D]; bytes are first normalised to [-1, 1] (mean and deviation 0.5)."""
        patch = self.patch_embedding
        if patches.shape[-1] != self.config.patch_dim:
            raise ValueError(
                f"patches of {patches.shape[-1]} numbers, but the model reads {self.config.num_channels} channels of "
                f"{self.config.patch_size}x{self.config.patch_size} pixels = {self.config.patch_dim} numbers"
            )
        if patches.dtype == torch.uint8:
            patches = patches.to(torch.promote_types(patch.weight.dtype, torch.float32)).div_(127.5).sub_(1)
        return F.linear(patches.to(patch.weight.dtype), patch.weight.flatten(1), patch.bias)

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        """Int64[t] -> Float[t D]"""
        return self.in_proj(self.embeddings(token_ids))
