"""Decoders: an encoder whose outputs a second transformer reads to predict the caption.

In: a `DecoderRun`. Out: what the engine asks of a task: the caption loss of packs, held-out loss and picture gain.

    encoder_decoder   one causal decoder over [a share of the encoder's outputs; text] (OpenVision 2, arXiv 2509.01644)
    cap               a decoder over text that reads the encoder's outputs by cross-attention (Cap, arXiv 2306.07915); with
                      `decoder.parallel` some samples predict all tokens at once from masked inputs (CapPa)

Axes: p patches, t text tokens of a pack, D width of the encoder, W width of the decoder, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from genlip.baselines.arm_task import ArmTask
from genlip.baselines.flops import cross_flops, encoder_training_flops, last_block_flops, rows_flops
from genlip.baselines.rows import CausalAttention, SampleAttention, drop_patches, kept_patches
from genlip.baselines.run import DecoderRun
from genlip.baselines.towers import encoder_alone, text_places, text_rotary, xavier
from genlip.evaluate.held_out import held_out
from genlip.model.config import GenLIPConfig
from genlip.model.device_transfer import on_device
from genlip.model.genlip import GenLIP
from genlip.model.layers import Block, reset_parameters
from genlip.model.objective import caption_loss, caption_losses
from genlip.model.pack import Pack
from genlip.model.positions import Rotary
from genlip.train.task import HeldOutSet, Measured, PackTask

__all__ = ["CapTask", "CrossDecoder", "EncoderDecoder", "EncoderDecoderTask", "decoder_config"]


def decoder_config(run: DecoderRun) -> GenLIPConfig:
    """The sizes of a run's decoder: the encoder's, in proportion to its width."""
    config, decoder = run.model, run.decoder
    width = decoder.width or config.hidden_size
    heads = decoder.heads or max(1, width // config.head_dim)
    return dataclasses.replace(
        config,
        hidden_size=width,
        intermediate_size=max(1, config.intermediate_size * width // config.hidden_size),
        num_hidden_layers=decoder.layers or max(1, config.num_hidden_layers // 2),
        num_attention_heads=heads,
        text_embed_dim=width,
        mrope_section=config.mrope_section if width // heads == config.head_dim else None,
    )


class EncoderWithDecoder(nn.Module, ABC):
    """What both forms have: the encoder, and losses out of what the language head reads."""

    head: nn.Linear

    def __init__(self, run: DecoderRun, attention: str) -> None:
        super().__init__()
        self.run = run
        self.encoder = encoder_alone(run.model, attention)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.encoder.device

    @abstractmethod
    def predictions(self, pack: Pack) -> Tensor:
        """Float[t W], inputs of the language head, one for each text token to predict."""

    def forward(self, pack: Pack) -> Tensor:
        """Float[], the summed loss of the supervised tokens."""
        return caption_loss(self.predictions(pack), self.head.weight, pack.token_ids, pack.supervised)

    def token_losses(self, pack: Pack) -> Tensor:
        """Float[t], the loss of every text token in nats; 0 where it is not supervised."""
        return caption_losses(self.predictions(pack), self.head.weight, pack.token_ids, pack.supervised)


class _FeatureDecoder(GenLIP):
    """A GenLIP whose patches are features of its own width."""

    def __init__(self, config: GenLIPConfig, attention: str) -> None:
        super().__init__(dataclasses.replace(config, patch_size=1, num_channels=1), attention)
        self.vision_embeddings.requires_grad_(False)

    def embed_patches(self, patches: Tensor) -> Tensor:
        """The features as they are."""
        return patches


class EncoderDecoder(EncoderWithDecoder):
    """One causal decoder over [a share of the encoder's outputs; text]."""

    def __init__(self, run: DecoderRun, attention: str) -> None:
        super().__init__(run, attention)
        config = decoder_config(run)
        self.features = nn.Linear(run.model.hidden_size, config.hidden_size)
        self.decoder = _FeatureDecoder(config, attention)
        self.head = self.decoder.lm_head
        reset_parameters(self.features)

    def predictions(self, pack: Pack) -> Tensor:
        """See the base class. In training, `decoder.kept` of the encoder's outputs are read."""
        features = self.encoder.encode(pack)
        read, which = drop_patches(pack, self.run.decoder.kept if self.training else 1.0)
        inputs = dataclasses.replace(read, patches=self.features(features[which]))
        return self.decoder.ln_post(self.decoder.trunk(inputs, predicting=True, attend=CausalAttention(inputs)))


class CrossBlock(nn.Module):
    """GenLIP's block over text, with cross-attention to the patches between attention and feed-forward network."""

    def __init__(self, config: GenLIPConfig, read_width: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.block = Block(config)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj, self.v_proj = nn.Linear(read_width, width), nn.Linear(read_width, width)

    def forward(
        self, x: Tensor, features: Tensor, rotary: Rotary, attend: Callable[..., Tensor], read: Callable[..., Tensor]
    ) -> Tensor:
        """Float[t W] text and Float[p D] features -> Float[t W].

        attend  attention among the tokens of each text
        read    attention of tokens to the patches of their image
        """
        block = self.block
        x = x + block.layer_scale1(block.self_attn(block.layer_norm1(x), rotary, attend))
        parts = (self.q_proj(self.norm(x)), self.k_proj(features), self.v_proj(features))
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in parts)
        x = x + self.out_proj(read(q, k, v).flatten(1))
        return x + block.layer_scale2(block.mlp(block.layer_norm2(x)))


class CrossDecoder(EncoderWithDecoder):
    """A decoder over text that reads the encoder's outputs by cross-attention. Each input is the token before."""

    def __init__(self, run: DecoderRun, attention: str) -> None:
        super().__init__(run, attention)
        config = self.config = decoder_config(run)
        self.embeddings = nn.Embedding(config.vocab_size + 2, config.hidden_size)  # two more: start, and masked
        blocks = [CrossBlock(config, run.model.hidden_size) for _ in range(config.num_hidden_layers)]
        self.layers = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for part in (self.embeddings, self.layers, self.norm, self.head):
            reset_parameters(part)
        for block in blocks:
            xavier(block.q_proj, block.k_proj, block.v_proj, block.out_proj)

    def predictions(self, pack: Pack) -> Tensor:
        """See the base class. In training, a share of the texts is predicted in parallel."""
        features, lengths = self.encoder.encode(pack), pack.text_lengths
        x = self.embeddings(self._inputs(pack)).to(self.norm.weight.dtype)
        x = x + text_places(pack, x.shape[1]).to(x.dtype)  # masked inputs are all alike, and turning them leaves them so
        rotary = text_rotary(pack, self.config, x.dtype)
        attend, read = SampleAttention(lengths, lengths, causal=True), SampleAttention(lengths, pack.patch_counts)
        for layer, block in enumerate(self.layers):
            x = block(x, features, rotary, partial(attend, layer), partial(read, layer))
        return self.norm(x)

    def _inputs(self, pack: Pack) -> Tensor:
        """Int64[t], the token before each; the start before the first. Masked ones in texts that are predicted in parallel.

        Masked inputs are all the same, so that a token sees no other although attention stays causal.
        """
        start, masked = self.config.vocab_size, self.config.vocab_size + 1
        before = pack.token_ids.roll(1)
        firsts = np.cumsum([0, *pack.text_lengths[:-1]])[np.array(pack.text_lengths) > 0]
        before[on_device(firsts, before.device)] = start
        if not self.training or not self.run.decoder.parallel:
            return before
        chosen = torch.rand(pack.num_samples, device=before.device) < self.run.decoder.parallel
        return before.masked_fill(chosen[pack.sample_of_row[pack.num_patches :]], masked)


class _DecoderTask(ArmTask, PackTask):
    """What both tasks share."""

    run: DecoderRun

    def loss(self, model: EncoderWithDecoder, pack: Pack) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy of the supervised tokens in nats, and their number."""
        return model(pack), pack.supervised.sum()

    def validate(self, model: EncoderWithDecoder, on: HeldOutSet) -> Measured:
        """Held-out loss and picture gain."""
        found = held_out(model, on.samples)
        return Measured({"loss": found.loss, "picture_gain": found.picture_gain}, unit="nats per token")


class EncoderDecoderTask(_DecoderTask):
    """Trains an `EncoderDecoder`."""

    def build(self, attention: str) -> EncoderDecoder:
        """A model with random weights."""
        return EncoderDecoder(self.run, attention)

    def blocks(self, model: EncoderDecoder) -> Sequence[nn.Module]:
        """Of the encoder and of the decoder."""
        return [*model.encoder.blocks, *model.decoder.blocks]

    def flops(self, pack: Pack) -> float:
        """Work of the encoder over all patches, and of the decoder over those that it reads."""
        config, kept = decoder_config(self.run), self.run.decoder.kept
        read = [kept_patches(count, kept) for count in pack.patch_counts]
        lengths = [patches + text for patches, text in zip(read, pack.text_lengths, strict=True)]
        blocks = rows_flops(config, lengths, causal=True, layers=config.num_hidden_layers - 1)
        blocks += last_block_flops(config, lengths, pack.text_lengths)
        maps = 2 * config.hidden_size * (self.run.model.hidden_size * sum(read) + config.vocab_size * len(pack.token_ids))
        return encoder_training_flops(self.run.model, pack.patch_counts) + 3 * (blocks + maps)


class CapTask(_DecoderTask):
    """Trains a `CrossDecoder`."""

    def build(self, attention: str) -> CrossDecoder:
        """A model with random weights."""
        return CrossDecoder(self.run, attention)

    def blocks(self, model: CrossDecoder) -> Sequence[nn.Module]:
        """Of the encoder and of the decoder."""
        return [*model.encoder.blocks, *model.layers]

    def flops(self, pack: Pack) -> float:
        """Work of the encoder over patches and of the decoder over text."""
        config, text = decoder_config(self.run), pack.text_lengths
        decoder = rows_flops(config, text, causal=True, layers=config.num_hidden_layers)
        decoder += cross_flops(config, self.run.model.hidden_size, pack.patch_counts, text)
        head = 2 * config.hidden_size * config.vocab_size * len(pack.token_ids)
        return encoder_training_flops(self.run.model, pack.patch_counts) + 3 * (decoder + head)
