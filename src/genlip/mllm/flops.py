"""FLOPs of an MLLM's training step, from the sizes of its parts: what a plan, a benchmark and the log count.

In: sizes and a pack. Out: FLOPs of the forward and backward passes, two for each multiplication with its addition.
A part that is not trained has no products for gradients of its weights, and an encoder before the first trained part no
backward pass at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genlip.mllm.batch import MLLMPack
from genlip.mllm.vision import VisionTower

__all__ = ["language_flops", "language_parameters", "training_flops"]


def training_flops(
    tower: VisionTower, language_config: Any, pack: MLLMPack, train: Sequence[str], shuffle: int = 1
) -> float:
    """FLOPs of a training step on a pack."""
    hidden, width = language_config.hidden_size, tower.width * shuffle**2
    projector = 2.0 * _features(pack, shuffle) * (width * hidden + hidden * hidden)
    vision = tower.flops(pack.images) * (3 if "encoder" in train else 1)
    forward = language_flops(language_config, pack.lengths, len(pack.targets))
    return vision + projector * 3 + forward * (3 if "language" in train else 2)


def _features(pack: MLLMPack, shuffle: int) -> int:
    if pack.patches is not None:
        return len(pack.patches) // shuffle**2
    return int(pack.images.num_patches)


def language_flops(config: Any, lengths: Sequence[int], heads: int) -> float:
    """FLOPs of a forward pass of the language model.

    lengths  rows of each sample
    heads    rows at which logits are computed
    """
    found = language_parameters(config)
    rows, pairs = sum(lengths), sum(length * (length + 1) / 2 for length in lengths)
    attention = 4.0 * pairs * config.num_attention_heads * _head_dim(config) * config.num_hidden_layers
    return 2.0 * rows * found["blocks"] + attention + 2.0 * heads * config.vocab_size * config.hidden_size


def language_parameters(config: Any) -> dict[str, int]:
    """Numbers of weights: of the "blocks" together, of the "embedding", and of the "head", which is 0 where it is tied.

    They are those of Transformers' own model, which is built without memory.
    """
    import torch

    from genlip.mllm.language import build_language_model

    key = config.to_json_string(use_diff=False)
    if key not in _COUNTED:
        with torch.device("meta"):
            model = build_language_model(config, 0)
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        _COUNTED[key] = {
            "blocks": sum(p.numel() for p in model.get_decoder().layers.parameters()),
            "embedding": embedding.numel(),
            "head": 0 if head is embedding else head.numel(),
            "total": sum(p.numel() for p in model.parameters()),
        }
    return _COUNTED[key]


_COUNTED: dict[str, dict[str, int]] = {}


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
