"""The config of a GenLIP in Transformers.

In: the keys of a published `config.json`, or keyword arguments. Out: a `GenLIPConfig` of Transformers, which writes the
same published keys again: Transformers itself would rename `rope_scaling` and leave out default values. This file and the
other `*_genlip.py` files import nothing of genlip, so that a folder may contain them for `trust_remote_code`.
"""

from __future__ import annotations

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

__all__ = ["GenLIPConfig"]

_PUBLISHED = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
    "text_embed_dim", "patch_size", "num_channels", "hidden_act", "use_swiglu_ffn", "ls_init_value", "drop_path_rate",
    "gated_attention", "layer_norm_eps", "rope_theta", "rope_scaling", "mrope_interleaved", "tie_word_embeddings",
)  # fmt: skip
_ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "relu")


@strict
class GenLIPConfig(PreTrainedConfig):
    """Sizes and variants of a GenLIP (arXiv 2605.00809), under the published keys.

    Attributes:
        text_embed_dim: width E of the token embedding and the head; `None` means `hidden_size`.
        intermediate_size: hidden width of the feed-forward network, SwiGLU if `use_swiglu_ffn`.
        ls_init_value: initial LayerScale; 0 builds the model without it.
        drop_path_rate: probability in [0, 1) that a sample skips a branch in training; the same in every layer.
        gated_attention: multiply the attention's output by a sigmoid gate.
        rope_parameters: `rope_theta`, and `mrope_section`, the channels of (time, row, column); thirds if it is missing.
        mrope_interleaved: interleaved (True) or chunked (False) assignment of channels to axes.
        image_size: side in pixels of a fixed image, for libraries that read it; the model accepts any size.
        image_token_id: placeholder of a patch in `input_ids`; its embedding is never used.
    """

    model_type = "genlip"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012
    ignore_keys_at_rope_validation = {"mrope_section", "type"}  # noqa: RUF012

    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    vocab_size: int = 151_936
    text_embed_dim: int | None = None
    patch_size: int = 16
    num_channels: int = 3
    image_size: int = 224
    hidden_act: str = "silu"
    use_swiglu_ffn: bool = True
    ls_init_value: float | int = 0.1
    drop_path_rate: float | int = 0.0
    gated_attention: bool = True
    layer_norm_eps: float = 1e-6
    rope_parameters: dict[str, Any] | None = None
    mrope_interleaved: bool = True
    initializer_range: float = 0.02
    image_token_id: int | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        """Set derived fields. Raises ValueError if heads and width do not fit."""
        super().__post_init__(**kwargs)
        if self.text_embed_dim is None:
            self.text_embed_dim = self.hidden_size
        _check_sizes(self)
        third = min(math.ceil(self.head_dim / 6), self.head_dim // 4)
        thirds = [self.head_dim // 2 - 2 * third, third, third]
        self.rope_parameters = {"mrope_section": thirds, **(self.rope_parameters or {})}
        section = list(self.rope_parameters["mrope_section"])
        if len(section) != 3 or (not self.mrope_interleaved and sum(section) != self.head_dim // 2):
            raise ValueError(
                f"mrope_section {section}: need channels for time, row and column; chunked ones must sum to half the head "
                f"dimension, {self.head_dim // 2}"
            )

    @property
    def head_dim(self) -> int:
        """Width d of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def to_dict(self) -> dict[str, Any]:
        """The published keys, and the keys that Transformers adds."""
        keys = super().to_dict()
        rope = dict(keys.pop("rope_parameters"))
        rope.pop("partial_rotary_factor", None)
        keys["rope_theta"] = rope.pop("rope_theta")
        keys["rope_scaling"] = {"type": "default", **rope}
        return keys

    def to_diff_dict(self) -> dict[str, Any]:
        """The keys for a file: all published keys, and Transformers' own keys that differ from their defaults."""
        keys = self.to_dict()
        return super().to_diff_dict() | {name: keys[name] for name in _PUBLISHED}


def _check_sizes(config: GenLIPConfig) -> None:
    """The same checks as in genlip's own config."""
    if config.num_attention_heads < 1 or config.hidden_size % (2 * config.num_attention_heads):
        raise ValueError(
            f"hidden_size {config.hidden_size} over {config.num_attention_heads} heads gives no even head dimension"
        )
    if config.hidden_act not in _ACTIVATIONS:
        raise ValueError(f"hidden_act is {config.hidden_act!r}: need one of {', '.join(_ACTIVATIONS)}")
    if config.tie_word_embeddings:
        raise ValueError("tie_word_embeddings is true: GenLIP has separate embeddings and lm_head; set it to false")
