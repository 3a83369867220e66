"""Vision: the encoder of a multimodal LLM in training, with gradients.

In: prepared images of any grids, collated into one batch. Out: features of all patches, in the order of the images.

`VisionTower` is no module: the multimodal LLM registers `VisionTower.module`, so that parameters keep the encoder's names.
Each block is called once for a batch, whatever its images are, because FSDP gathers the weights of a block from all ranks
when it is called: a GenLIP computes one pack, a tower with images of one size stacks them, and a tower that reads native
images pads them and masks the padding.

Axes: b images, p patches of all images, D encoder width.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from genlip.data.images import Patches
from genlip.encoder import Encoder, Prepared
from genlip.encoders.names import split_random
from genlip.encoders.opening import open_encoder
from genlip.encoders.tower import Tower
from genlip.mllm.run import MLLMRun
from genlip.model.flops import encoder_flops
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.speaker import Speaker

__all__ = ["ImageBatch", "VisionTower", "encoder_of"]


@dataclass(frozen=True, repr=False)
class ImageBatch:
    """Prepared images in one buffer.

    Attributes:
        images: of a GenLIP a `Pack` without text; of other towers Float32[b ..], see `genlip.encoders.tower.Tower.stacked`.
        grids: rows and columns of patches of each image, in the order given.
    """

    images: Pack | Tensor
    grids: tuple[tuple[int, int], ...]

    def __repr__(self) -> str:
        return f"<ImageBatch of {len(self.grids)} images: {self.num_patches} patches>"

    @property
    def num_patches(self) -> int:
        """Patches p of all images."""
        return sum(rows * columns for rows, columns in self.grids)

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same batch on another device."""
        images = self.images
        moved = images.to(device) if isinstance(images, Pack) else images.to(device, non_blocking=True)
        return dataclasses.replace(self, images=moved)

    def pin_memory(self) -> ImageBatch:
        """The same batch in page-locked memory, from which copies to a GPU are asynchronous."""
        return dataclasses.replace(self, images=self.images.pin_memory())


class VisionTower:
    """The differentiable forward pass of an encoder.

    Attributes:
        encoder: the encoder, which prepares images. Of a GenLIP it is a copy without the parameters of the text; the
            remaining parameters are shared with the encoder that was given.
        module: its module, for the parameters. It is called through `VisionTower` alone.
    """

    encoder: Speaker | Tower
    module: nn.Module

    def __init__(self, encoder: Encoder, attention: str = "sdpa") -> None:
        """`attention` is the backend of a GenLIP (genlip.model.attention.BACKENDS); other towers have their own."""
        if isinstance(encoder, Speaker):
            self.encoder = copy.copy(encoder)
            self.encoder.model = _without_text(encoder.model)
            self.encoder.model.attention = attention
        elif isinstance(encoder, Tower):
            self.encoder = encoder
        else:
            raise TypeError(f"{encoder.name} is a {type(encoder).__name__}: need a Speaker or a Tower")
        self.module = self.encoder.model

    def __repr__(self) -> str:
        return f"VisionTower({self.encoder!r})"

    @property
    def width(self) -> int:
        """D, numbers in the feature of a patch."""
        return self.encoder.width

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.encoder.patch_size

    def collate(self, prepared: Sequence[Prepared]) -> ImageBatch:
        """The batch of one or more images, as `encoder.prepare` returns them. Raises ValueError for none."""
        if not prepared:
            raise ValueError("a batch needs at least one image: take empty_image() where there is none")
        grids = tuple((int(one.grid[0]), int(one.grid[1])) for one in prepared)
        if isinstance(self.encoder, Speaker):
            return ImageBatch(Pack.of([Sample(one.patches, one.grid) for one in prepared]), grids)
        return ImageBatch(self.encoder.stacked(prepared), grids)

    def __call__(self, batch: ImageBatch) -> Tensor:
        """Float[p D], features of the last layer after the last LayerNorm, as `encoder.encode` returns them: image after
        image in the order given, each row-major. The mode of the module applies, and so does autocast."""
        if isinstance(self.encoder, Speaker):
            assert isinstance(batch.images, Pack)
            return self.encoder.model.encode(batch.images)
        assert isinstance(batch.images, Tensor)
        return self.encoder.forward(batch.images, batch.grids)

    def empty_image(self, side: int = 1) -> Prepared:
        """A black image, for ranks whose batch holds none: the smallest that the encoder reads. It has `side` x `side`
        patches, or the fixed size of a tower of timm or Transformers."""
        if isinstance(self.encoder, Tower):
            return self.encoder.empty_image(side)
        return Patches(np.zeros((side * side, self.encoder.model.config.patch_dim), np.uint8), (side, side), False)

    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last. Each batch calls each of them once."""
        return list(self.encoder.blocks if isinstance(self.encoder, Tower) else self.encoder.model.blocks)

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Whether training keeps only the input of each block and computes the rest again in the backward pass."""
        if isinstance(self.encoder, Tower):
            self.encoder.set_activation_checkpointing(enabled)
        else:
            self.encoder.model.activation_checkpointing = enabled

    def parameters_used(self) -> frozenset[str]:
        """Names of the parameters of `module` that features depend on; others, such as those of a pooling head, get no
        gradient."""
        unused = self.encoder.unused if isinstance(self.encoder, Tower) else frozenset()
        return frozenset(name for name, _ in self.module.named_parameters() if unused.isdisjoint(name.split(".")))

    def flops(self, batch: ImageBatch) -> float:
        """Work of a forward pass, counted as in `genlip.model.flops`; padding is not counted."""
        counts = [rows * columns for rows, columns in batch.grids]
        if isinstance(self.encoder, Speaker):
            return encoder_flops(self.encoder.model.config, counts)
        tower, of_patch = self.encoder, 3 * self.patch_size**2 * self.width
        tokens = [count + tower.prefix_tokens for count in counts]
        matrices = sum(p.numel() for block in tower.blocks for p in block.parameters() if p.dim() == 2)
        pairs = tower.layers * sum(number**2 for number in tokens)
        return 2 * (of_patch * sum(counts) + matrices * sum(tokens)) + 4 * self.width * pairs


def encoder_of(run: MLLMRun, weights: Literal["stored", "random"]) -> Encoder:
    """The encoder that a run names, with its weights or with new ones. Raises what `open_encoder` raises."""
    model = run.model
    return open_encoder(
        model.encoder,
        images=run.images,
        checkpoint=model.checkpoint if weights == "stored" or split_random(model.encoder)[0] else "",
        squash=model.squash,
        interpolate_positions=model.interpolate_positions,
        dtype=torch.get_default_dtype(),
        weights=weights,
    )


class _NoTokens(nn.Module):
    """Stands for the token embedding of a GenLIP that reads no text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, token_ids: Tensor) -> Tensor:
        """Int64[0] -> Float[0 D]"""
        return torch.empty((0, self.width), dtype=torch.bfloat16, device=token_ids.device)


def _without_text(model: GenLIP) -> GenLIP:
    """A GenLIP that shares the parameters of the encoder, and has none of the text."""
    own: Any = copy.copy(model)
    own._modules = dict(model._modules)
    own.embeddings, own.in_proj, own.proj, own.lm_head = _NoTokens(model.config.hidden_size), *(nn.Identity() for _ in "...")
    return own  # type: ignore[no-any-return]
