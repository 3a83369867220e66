"""Work of an MLLM's training step by part, from the sizes of its parts: what a plan, a benchmark and the log count.

In: sizes, and how many patches, features, rows and attended pairs there are. Out: FLOPs of the passes by part.
Work is counted as in `genlip.model.flops`: two for each multiply-add of a matrix product, and only pairs that a row may
attend to. A part that is not trained has no products for gradients of its weights. An encoder before the first trained part
has no backward pass at all, and activation checkpointing does not compute it again.

Axes: p patches, u visual features, t rows of the language model, k supervised tokens; D encoder width, s side of pixel
shuffle, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from genlip.mllm.batch import MLLMPack
from genlip.mllm.language import build_language_model, decoder_blocks
from genlip.mllm.vision import VisionTower

__all__ = ["MLLMFlops", "MLLMLoad", "MLLMSizes", "MLLMStepFlops", "step_flops", "training_flops"]


class MLLMSizes(NamedTuple):
    """Sizes on which the work of a step depends.

    Attributes:
        patch: numbers of a patch, 3 P².
        width: D.
        shuffle: s.
        hidden: H.
        matrices: weights in the matrices of all decoder layers.
        last: of these, weights in the last matrix of each layer, whose product activation checkpointing does not compute
            again, since no gradient needs it.
        heads: width of all attention heads together, summed over the decoder layers.
        vocabulary: V.
    """

    patch: int
    width: int
    shuffle: int
    hidden: int
    matrices: int
    last: int
    heads: int
    vocabulary: int

    @classmethod
    def of(cls, tower: VisionTower, config: Any, shuffle: int = 1) -> MLLMSizes:
        """The sizes of an encoder and of a language model, which `config` of Transformers describes."""
        matrices, last = _layer_matrices(config)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            patch=3 * tower.patch_size**2,
            width=tower.width,
            shuffle=shuffle,
            hidden=config.hidden_size,
            matrices=matrices,
            last=last,
            heads=config.num_hidden_layers * config.num_attention_heads * head_dim,
            vocabulary=config.vocab_size,
        )


class MLLMLoad(NamedTuple):
    """The size of the input: of a pack, of a sample, or of an average sample.

    Attributes:
        encoder: FLOPs of a forward pass of the encoder over the images.
        patches: p.
        features: u, inputs of the projector.
        rows: t, visual tokens and text.
        pairs: (query, key) pairs that attention computes in a decoder layer: n(n + 1)/2 of a sample of n rows.
        supervised: k, rows at which logits are computed.
    """

    encoder: float
    patches: float
    features: float
    rows: float
    pairs: float
    supervised: float

    @classmethod
    def of_pack(cls, tower: VisionTower, pack: MLLMPack) -> MLLMLoad:
        """The load of a real pack."""
        patches = pack.images.num_patches
        return cls(
            encoder=tower.flops(pack.images),
            patches=patches,
            features=patches if pack.patches is None else len(pack.patches),
            rows=pack.num_rows,
            pairs=sum(length * (length + 1) / 2 for length in pack.lengths),
            supervised=len(pack.targets),
        )


class MLLMFlops(NamedTuple):
    """Work by part: the encoder; the projector; in the decoder layers the matrices, and attention's scores and sums of
    values; the head."""

    encoder: float
    projector: float
    layers: float
    scores: float
    head: float

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self)


class MLLMStepFlops(NamedTuple):
    """Work of a training step in its three passes; `recomputed` is the additional work of activation checkpointing."""

    forward: MLLMFlops
    backward: MLLMFlops
    recomputed: MLLMFlops

    def total(self, activation_checkpointing: bool) -> float:
        """Forward and backward, with or without the recomputation."""
        return self.forward.total + self.backward.total + activation_checkpointing * self.recomputed.total


def step_flops(sizes: MLLMSizes, load: MLLMLoad, train: Sequence[str]) -> MLLMStepFlops:
    """Work of training the parts in `train` on this load once."""
    encoder, projector, language = (part in train for part in ("encoder", "projector", "language"))
    first = 2.0 * load.features * sizes.width * sizes.shuffle**2 * sizes.hidden  # of the projector's two layers
    second = 2.0 * load.features * sizes.hidden**2
    forward = MLLMFlops(
        encoder=load.encoder,
        projector=first + second,
        layers=2.0 * load.rows * sizes.matrices,
        scores=4.0 * load.pairs * sizes.heads,
        head=2.0 * load.supervised * sizes.vocabulary * sizes.hidden,
    )
    embedding = 2.0 * load.patches * sizes.patch * sizes.width  # of patches: no gradient flows into pixels
    inputs = encoder * first + (encoder or projector) * second  # products for gradients of the projector's inputs
    backward = MLLMFlops(
        encoder=encoder * (2 * load.encoder - embedding),
        projector=projector * forward.projector + inputs,
        layers=(1 + language) * forward.layers,
        scores=2 * forward.scores,
        head=(1 + language) * forward.head,
    )
    recomputed = MLLMFlops(
        encoder=encoder * (load.encoder - embedding),
        projector=0.0,
        layers=2.0 * load.rows * (sizes.matrices - sizes.last),
        scores=forward.scores,
        head=0.0,
    )
    return MLLMStepFlops(forward, backward, recomputed)


def training_flops(
    tower: VisionTower, language_config: Any, pack: MLLMPack, train: Sequence[str], shuffle: int = 1
) -> float:
    """Work of a forward and backward pass over one pack, without what activation checkpointing repeats."""
    sizes, load = MLLMSizes.of(tower, language_config, shuffle), MLLMLoad.of_pack(tower, pack)
    return step_flops(sizes, load, train).total(activation_checkpointing=False)


def _layer_matrices(config: Any) -> tuple[int, int]:
    """Weights in the matrices of all decoder layers of Transformers' own model, and in the last one of each layer."""
    key = config.to_json_string(use_diff=False)
    if key not in _COUNTED:
        with torch.device("meta"):
            layers = decoder_blocks(build_language_model(config, 0))
        sizes = [[p.numel() for p in layer.parameters() if p.dim() >= 2] for layer in layers]
        _COUNTED[key] = sum(map(sum, sizes)), sum(of_layer[-1] for of_layer in sizes)
    return _COUNTED[key]


_COUNTED: dict[str, tuple[int, int]] = {}
