"""The shape of a GenLIP: one frozen dataclass whose fields are the keys of a published `config.json`.

In: keyword arguments, a preset's name, or a published dictionary. Out: a checked `GenLIPConfig`.
The field names are the published keys, so nothing is renamed.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genlip.model.fields import check_fields, checked, shown
from genlip.model.files import one_line

__all__ = ["ACTIVATIONS", "PRESETS", "GenLIPConfig"]

log = logging.getLogger(__name__)

ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "relu")

# Keys that libraries add to a config.json and that do not affect what the network computes.
_BOILERPLATE = {
    "architectures", "auto_map", "dtype", "initializer_range", "model_type", "torch_dtype", "transformers_version",
    "attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "use_cache",
    "bos_token_id", "eos_token_id", "pad_token_id", "return_dict", "output_hidden_states", "output_attentions",
    "chunk_size_feed_forward", "id2label", "image_size", "image_token_id", "is_encoder_decoder", "label2id", "problem_type",
}  # fmt: skip
_PLAIN_ROPE = (("type", "default"), ("rope_type", "default"), ("partial_rotary_factor", 1.0))


@dataclass(frozen=True, kw_only=True)
class GenLIPConfig:
    """Sizes and variants of a GenLIP (arXiv 2605.00809, section 3, and the published files).

    Attributes:
        hidden_size: width D of the trunk.
        intermediate_size: hidden width of the feed-forward network.
        num_hidden_layers: number of blocks.
        num_attention_heads: heads; must divide `hidden_size` into an even head dimension d.
        vocab_size: number V of token ids of the embedding and the head.
        text_embed_dim: width E of the token embedding and the head; `None` means D. Linear maps join E and D if they differ.
        patch_size: side P of a square patch, in pixels.
        num_channels: 3 for RGB, 1 for grey images.
        hidden_act: activation of the feed-forward network, one of `ACTIVATIONS`.
        use_swiglu_ffn: gated feed-forward network (True), or a plain two-layer one (False).
        ls_init_value: initial value of LayerScale; 0 builds the model without LayerScale.
        drop_path_rate: probability in [0, 1) that a sample skips a branch, in training, the same for every block.
        gated_attention: multiply the attention's output by a sigmoid gate computed from the query's input.
        layer_norm_eps: epsilon of every LayerNorm.
        rope_theta: base of the rotary frequencies.
        mrope_section: channels given to the axes (time, row, column), of the d/2 rotary channels; `None` takes thirds.
            Interleaved sections are clamped to d/2 and need not sum to it; chunked ones must.
        mrope_interleaved: interleaved (True) or chunked (False) assignment of channels to axes.
    """

    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    vocab_size: int = 151_936
    text_embed_dim: int | None = None
    patch_size: int = 16
    num_channels: int = 3
    hidden_act: str = "silu"
    use_swiglu_ffn: bool = True
    ls_init_value: float = 0.1
    drop_path_rate: float = 0.0
    gated_attention: bool = True
    layer_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    mrope_section: tuple[int, int, int] | None = None
    mrope_interleaved: bool = True

    def __post_init__(self) -> None:
        check_fields(self, but=("mrope_section",))
        _check_sizes(self)
        if self.text_embed_dim is None:
            object.__setattr__(self, "text_embed_dim", self.hidden_size)
        if self.mrope_section is None:
            third = min(math.ceil(self.head_dim / 6), self.head_dim // 4)
            object.__setattr__(self, "mrope_section", (self.head_dim // 2 - 2 * third, third, third))
        object.__setattr__(self, "mrope_section", _check_section(self))

    @property
    def head_dim(self) -> int:
        """Width d of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def patch_dim(self) -> int:
        """Numbers in one flattened patch: channels x P x P."""
        return self.num_channels * self.patch_size**2

    @classmethod
    def preset(cls, name: str, **changes: Any) -> GenLIPConfig:
        """A named size, one of `PRESETS`, with fields replaced.

        >>> GenLIPConfig.preset("l16", vocab_size=8192).hidden_size
        1024
        """
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}: the presets are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, published: Mapping[str, Any]) -> GenLIPConfig:
        """Read the content of a published `config.json`.

        Rotary settings may be in `rope_scaling`, as published, or in `rope_parameters`, as Transformers 5 writes them.
        Unknown keys are named in the log, since they could change what the network should compute.
        Raises ValueError where a needed key is missing or a value is impossible.
        """
        keys: dict[str, Any] = dict(checked(published, dict[str, Any], "a config"))
        rope: dict[str, Any] = {}
        for name in ("rope_scaling", "rope_parameters"):
            rope |= checked(keys.pop(name, None), dict[str, Any] | None, name) or {}
        if "mrope_section" in rope:
            keys["mrope_section"] = rope.pop("mrope_section")
        if "rope_theta" in rope:
            keys["rope_theta"] = rope.pop("rope_theta")
        keys |= {f"rope_scaling.{key}": value for key, value in rope.items() if (key, value) not in _PLAIN_ROPE}
        if checked(keys.pop("tie_word_embeddings", None), bool | None, "tie_word_embeddings"):
            raise ValueError("tie_word_embeddings is true: GenLIP has separate embeddings and lm_head; set it to false")
        if missing := [key for key in _COUNTS if key not in keys]:
            raise ValueError(
                f"not a GenLIP config: {', '.join(missing)} missing; it has {one_line(', '.join(sorted(published)))}"
            )
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(keys.keys() - names - _BOILERPLATE):
            log.warning("config keys ignored because GenLIP does not know them: %s", _with_nearest(unknown, names))
        return cls(**{key: value for key, value in keys.items() if key in names})

    def to_dict(self) -> dict[str, Any]:
        """The content of a published `config.json`; `from_dict` gives the same config back."""
        keys = dataclasses.asdict(self)
        section = list(keys.pop("mrope_section"))
        rope = {"type": "default", "rope_type": "default", "mrope_section": section}
        return {"model_type": "genlip", **keys, "rope_scaling": rope, "tie_word_embeddings": False}


# The paper's table of sizes; the text width of g16 is the published file's. `tiny` and `base` are ours.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "vocab_size": 512,
        "ls_init_value": 1.0,
    },
    "base": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "mrope_section": (8, 12, 12),
    },
    "l16": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mrope_section": (8, 12, 12),
        "drop_path_rate": 0.1,
    },
    "so16": {
        "hidden_size": 1152,
        "intermediate_size": 3072,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "mrope_section": (12, 12, 12),
        "drop_path_rate": 0.1,
    },
    "g16": {
        "hidden_size": 1536,
        "intermediate_size": 4096,
        "num_hidden_layers": 40,
        "num_attention_heads": 24,
        "text_embed_dim": 1024,
        "mrope_section": (8, 12, 12),
        "drop_path_rate": 0.2,
    },
}


_COUNTS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def _check_sizes(config: GenLIPConfig) -> None:
    for name in _COUNTS:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}: it must be at least 1")
    if config.patch_size < 1 or config.num_channels not in (1, 3):
        raise ValueError(
            f"patch_size {config.patch_size} and num_channels {config.num_channels}: need a patch of at least 1 pixel "
            "and 1 or 3 channels"
        )
    if config.hidden_size % (2 * config.num_attention_heads):
        raise ValueError(
            f"hidden_size {config.hidden_size} over {config.num_attention_heads} heads gives no even head dimension; "
            f"use a multiple of {2 * config.num_attention_heads}"
        )
    if config.text_embed_dim is not None and config.text_embed_dim < 1:
        raise ValueError(f"text_embed_dim is {config.text_embed_dim}: it must be at least 1, or null for hidden_size")
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act {config.hidden_act!r} is none of {', '.join(ACTIVATIONS)}")
    if not 0 <= config.drop_path_rate < 1:
        raise ValueError(f"drop_path_rate is {config.drop_path_rate}: it must lie in [0, 1)")
    if not config.rope_theta > 0:
        raise ValueError(f"rope_theta is {config.rope_theta}: it must be positive")
    for name in ("ls_init_value", "layer_norm_eps"):
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name} is {getattr(config, name)}: it must not be negative")


def _check_section(config: GenLIPConfig) -> tuple[int, int, int]:
    section, half = config.mrope_section, config.head_dim // 2
    if not isinstance(section, (tuple, list)) or len(section) != 3 or not all(map(_is_count, section)):
        raise ValueError(f"mrope_section {shown(section)}: need three counts of channels, for time, row and column")
    if not config.mrope_interleaved and sum(section) != half:
        raise ValueError(
            f"mrope_section {section} sums to {sum(section)}: chunked sections must sum to half the head dimension, {half}"
        )
    time, row, column = section
    return time, row, column


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _with_nearest(unknown: list[str], names: set[str]) -> str:
    def hint(key: str) -> str:
        near = difflib.get_close_matches(key, names, n=1)
        return f"{key} (did you mean {near[0]}?)" if near else key

    return ", ".join(hint(key) for key in unknown)
