"""MLLM: a vision encoder, a projector and a causal language model, as one model that is trained on dialogues.

In: an `MLLMPack`. Out: the loss of its answers, or the inputs of the language model.
A visual token is the projected feature of one patch (or of a square of patches), at the place of its placeholder.

Axes: p patches, u visual features, v visual tokens, t rows of the language model, D encoder width, H hidden width of the
language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn

from genlip.mllm.batch import MLLMPack
from genlip.mllm.language import decoder_blocks, language_states
from genlip.mllm.run import PARTS
from genlip.mllm.vision import VisionTower
from genlip.model.objective import caption_loss, caption_losses

__all__ = ["MLLM", "Projector"]


class Projector(nn.Module):
    """Two linear layers with GELU between them, as in LLaVA 1.5, and the newline vector of anyres tiles."""

    def __init__(self, width: int, hidden: int, newline: bool = False) -> None:
        """`width` is that of its input: D, times the number of patches that pixel shuffle joins."""
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(hidden, hidden)
        self.newline = nn.Parameter(torch.empty(hidden)) if newline else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """PyTorch's defaults in the layers; the newline vector as LLaVA-NeXT draws it."""
        for layer in (self.linear_1, self.linear_2):
            layer.reset_parameters()
        if self.newline is not None:
            nn.init.normal_(self.newline, std=len(self.newline) ** -0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Float[u s²·D] -> Float[u H], with the newline vector, where there is one, in one more row."""
        projected = self.linear_2(self.act(self.linear_1(features)))
        return projected if self.newline is None else torch.cat([projected, self.newline[None].to(projected.dtype)])


class MLLM(nn.Module):
    """The model of a run of task "mllm".

    Attributes:
        vision: the encoder's own module.
        projector: from features to the language model's width.
        language: the causal language model of Transformers.
    """

    def __init__(self, tower: VisionTower, language: Any, pixel_shuffle: int = 1, newline: bool = False) -> None:
        super().__init__()
        self._tower = (tower,)  # in a tuple: its module is registered once, as `vision`
        self.vision = tower.module
        width = language.get_input_embeddings().weight.shape[1]
        self.projector = Projector(tower.width * pixel_shuffle**2, width, newline)
        self.language = language

    @property
    def tower(self) -> VisionTower:
        """The encoder, as a differentiable function of a batch of images."""
        return self._tower[0]

    def parts(self) -> dict[str, nn.Module]:
        """The modules of the parts that a run can train, by name."""
        return dict(zip(PARTS, (self.vision, self.projector, self.language), strict=True))

    def train_parts(self, parts: Sequence[str]) -> None:
        """Let these parts be trained, and no other; of the encoder only the parameters that features depend on."""
        self.requires_grad_(False)
        for part in parts:
            self.parts()[part].requires_grad_()
        used = self.tower.parameters_used()
        for name, parameter in self.vision.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in used)

    def train(self, mode: bool = True) -> Self:
        """Training mode, without DropPath and random positions in an encoder that is not trained."""
        super().train(mode)
        if not any(p.requires_grad for p in self.vision.parameters()):
            self.vision.eval()
        return self

    def blocks(self) -> list[nn.Module]:
        """Blocks of the encoder and of the language model, in the order in which a pack calls them."""
        return [*self.tower.blocks(), *decoder_blocks(self.language)]

    def forward(self, pack: MLLMPack) -> Tensor:
        """Float[], the summed cross-entropy of the supervised tokens in nats."""
        return caption_loss(self.predictions(pack), self.head, pack.targets, _all(pack.targets))

    def token_losses(self, pack: MLLMPack) -> Tensor:
        """Float[k], the loss of each supervised token on its own."""
        return caption_losses(self.predictions(pack), self.head, pack.targets, _all(pack.targets))

    def predictions(self, pack: MLLMPack) -> Tensor:
        """Float[k H], inputs of the head, one for each supervised token."""
        return self.hidden_states(pack)[pack.predictors]

    @property
    def head(self) -> Tensor:
        """Float[V H], the weight of the language model's head."""
        weight: Tensor = self.language.get_output_embeddings().weight
        return weight

    def hidden_states(self, pack: MLLMPack) -> Tensor:
        """Float[t H], the inputs of the head."""
        return language_states(self.language, self.embed(pack), pack.positions, pack.lengths)

    def embed(self, pack: MLLMPack) -> Tensor:
        """Float[t H], the inputs of the language model: embedded text, with visual tokens in their places."""
        text = self.language.get_input_embeddings()(pack.token_ids)
        visual = self.visual_features(pack).to(text.dtype)
        if not len(pack.visual):  # no image: the encoder and the projector ran on an empty one, and get gradients of 0
            return text + visual.sum() * 0
        return text.index_copy(0, pack.visual_rows, visual[pack.visual])

    def visual_features(self, pack: MLLMPack) -> Tensor:
        """Float[u H], the projected features of all images, with the newline vector, where there is one, after them."""
        trains = torch.is_grad_enabled() and any(p.requires_grad for p in self.vision.parameters())
        with nullcontext() if trains else torch.no_grad():
            features = self.tower(pack.images)
        if pack.patches is not None:
            outside = features.new_zeros(1, features.shape[1])
            features = torch.cat([features, outside])[pack.patches].flatten(1)
        if not torch.is_autocast_enabled(features.device.type):
            features = features.to(self.projector.linear_1.weight.dtype)
        return self.projector(features)

    @torch.no_grad()
    def answers(self, packs: Sequence[MLLMPack], max_tokens: int, end_ids: Sequence[int]) -> list[list[int]]:
        """The tokens that are generated, greedily, after each pack, which holds a single prompt."""
        self.eval()
        found = []
        for pack in packs:
            spoken = self.language.generate(
                inputs_embeds=self.embed(pack)[None],
                attention_mask=torch.ones_like(pack.token_ids)[None],
                max_new_tokens=max_tokens,
                do_sample=False,
                use_cache=True,
                eos_token_id=list(end_ids),
                pad_token_id=end_ids[0],
            )
            found.append([token for token in spoken[0].tolist() if token not in end_ids])
        return found


def _all(targets: Tensor) -> Tensor:
    """Bool[k], True: a pack's targets are supervised tokens alone."""
    return torch.ones_like(targets, dtype=torch.bool)
