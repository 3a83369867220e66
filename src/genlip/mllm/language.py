"""Language: any causal language model of Transformers as the reader of visual tokens.

In: a folder, a Hub id or a .gguf file. Out: its config, tokenizer and weights, and its hidden states over packed samples.
Samples lie one after another in one row. Attention is computed for each sample on its own, so none sees another, and no mask
grows with the square of the pack: the attention function below is registered in Transformers, and gets the samples' lengths
with every call. Code that comes with a model is never run, and only safetensors and GGUF files are read.

Axes: t rows of a pack, H hidden width, h heads, k key heads, d head dimension, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.extras import require
from genlip.mllm.tiny_language import TINY, tiny_config
from genlip.model.checkpoint import CheckpointError
from genlip.model.download import fetch

__all__ = [
    "build_language_model",
    "check_head",
    "check_packing",
    "decoder_blocks",
    "language_config",
    "language_states",
    "language_tokenizer",
    "load_language_weights",
    "recompute_blocks",
    "with_image_token",
]

ATTENTION = "genlip_packed"  # the name under which Transformers finds the attention below
_PROBED, _CLOSE = 6, 1e-3  # tokens of a sample, and the largest difference as a share, of `check_packing`
_IMAGE_TOKENS = ("<image>", "<|image_pad|>")  # placeholders of visual tokens, the first of which is added if none is there

# Sizes of the language models in the recipes, from their published config.json: a plan needs no network.
_QWEN = {
    "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 32_768,
    "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "rms_norm_eps": 1e-6, "dtype": "bfloat16",
}  # fmt: skip
_KNOWN = {
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN | {
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_attention_heads": 28,
        "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
}  # fmt: skip


def language_config(name: str, sizes_only: bool = False) -> Any:
    """The Transformers config of a language model.

    name        a folder, a Hub id, or a .gguf file
    sizes_only  take the sizes of a language model of the recipes from this package, without a network

    Raises ValueError for a model that is no plain causal language model, and OSError where it cannot be found.
    """
    library = require("transformers", "mllm")
    if name == TINY:
        return tiny_config()
    if sizes_only and name in _KNOWN and not Path(name).exists():
        return library.Qwen2Config(architectures=["Qwen2ForCausalLM"], **_KNOWN[name])
    folder, options = _located(name, weights=False)
    try:
        config = library.AutoConfig.from_pretrained(folder, trust_remote_code=False, **options)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name}: not a language model that Transformers knows: {_short(error)}") from error
    _check_config(name, config)
    return config


def language_tokenizer(name: str) -> Any:
    """The fast tokenizer of a language model. Raises ValueError if it has none."""
    library = require("transformers", "mllm")
    folder, options = _located(name, weights=False)
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: no tokenizer that Transformers can read: {_short(error)}") from error
    if not tokenizer.is_fast:
        raise ValueError(f"{name}: its tokenizer is no fast one; need a folder with tokenizer.json")
    return tokenizer


def with_image_token(tokenizer: Any) -> str:
    """The special token that stands for a visual token; it is added to a tokenizer that has none."""
    for token in _IMAGE_TOKENS:
        if token in tokenizer.get_added_vocab():
            return token
    tokenizer.add_special_tokens({"additional_special_tokens": [_IMAGE_TOKENS[0]]}, replace_extra_special_tokens=False)
    return _IMAGE_TOKENS[0]


def build_language_model(config: Any, vocab_size: int) -> Any:
    """A causal language model without values in its weights, whose vocabulary has at least `vocab_size` tokens.

    Attention is that of packed samples. Raises ValueError for a model whose attention cannot be replaced.
    """
    library = require("transformers", "mllm")
    _register()
    config = config.__class__.from_dict(config.to_dict() | {"vocab_size": max(config.vocab_size, vocab_size)})
    with _without_initialisation():
        model = library.AutoModelForCausalLM.from_config(
            config, attn_implementation=ATTENTION, dtype=torch.get_default_dtype()
        )
    model.tie_weights()  # part of what was left out
    if not getattr(model, "_supports_attention_backend", False):
        raise ValueError(f"{type(model).__name__} has an attention of its own that cannot be replaced: samples would mix")
    model.config.use_cache = False
    return model


def load_language_weights(model: Any, name: str) -> None:
    """Copy the weights of a folder, Hub id or .gguf file into a model that was built for it.

    Rows of the embedding and the head for tokens that the stored model lacks become the mean of the others. "random:tiny"
    has no files: its weights are drawn.
    Raises `CheckpointError` where weights are missing.
    """
    library = require("transformers", "mllm")
    if name == TINY:
        model.init_weights()
        return
    folder, options = _located(name, weights=True)
    if not options and not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{name}: no .safetensors file; other formats are not read, because they can run code")
    how: dict[str, Any] = options | {"dtype": torch.float32} if options else {"dtype": "auto", "use_safetensors": True}
    stored, report = library.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, trust_remote_code=False, **how
    )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{name}: {len(missing)} weights are missing, such as {', '.join(missing[:3])}")
    own = dict(model.named_parameters())
    if others := sorted(stored.state_dict().keys() - dict(stored.named_parameters(remove_duplicate=False)).keys()):
        raise CheckpointError(f"{name}: stores {others[0]}, which is no parameter and would be lost: take another model")
    with torch.no_grad():
        for key, value in stored.named_parameters():
            _copy(own[key], value.detach())


def language_states(model: Any, embeddings: Tensor, positions: Tensor, lengths: Sequence[int]) -> Tensor:
    """Float[t H] embeddings of packed samples -> Float[t H], the inputs of the head at every row.

    positions  Int64[t], of each row in its own sample
    lengths    rows of each sample, in order; they sum to t
    """
    found = model.base_model(
        inputs_embeds=embeddings[None], position_ids=positions[None], use_cache=False, sample_lengths=tuple(lengths)
    )
    return found.last_hidden_state[0]


def recompute_blocks(model: Any) -> None:
    """In training, keep only the input of each decoder layer, and recompute the rest in the backward pass."""
    name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # older Transformers
    getattr(model, f"{name}_checkpointing_enable")(**{f"{name}_checkpointing_kwargs": {"use_reentrant": False}})


def decoder_blocks(model: Any) -> list[nn.Module]:
    """The decoder layers, first to last."""
    found: list[nn.Module] = list(model.get_decoder().layers)
    return found


@torch.no_grad()
def check_head(model: Any) -> None:
    """Raise ValueError unless logits are the last hidden state times the head, which the loss assumes.

    Some models scale or cap their logits.
    """
    head = model.get_output_embeddings()
    ids = torch.arange(2, device=head.weight.device)
    embedded = model.get_input_embeddings()(ids)
    with _evaluating(model):
        states = language_states(model, embedded, ids, (2,))
        options = {"position_ids": ids[None], "use_cache": False, "sample_lengths": (2,)}
        found = model(inputs_embeds=embedded[None], **options).logits[0]
    expected = F.linear(states, head.weight)
    if getattr(head, "bias", None) is not None or not torch.allclose(found.float(), expected.float(), rtol=1e-2, atol=1e-2):
        raise ValueError(f"{type(model).__name__} scales, shifts or caps its logits: its loss would be another one")


@torch.no_grad()
def check_packing(model: Any) -> None:
    """Raise ValueError unless packed samples have the states that Transformers' own attention gives each by itself.

    Convolutions and recurrences reach into the sample before, and some attentions read more than queries, keys and values.
    """
    weight = model.get_input_embeddings().weight
    ids = torch.linspace(0, len(weight) - 1, _PROBED, device=weight.device).long()
    positions = torch.arange(_PROBED, device=weight.device)
    samples = [model.get_input_embeddings()(some) for some in (ids, ids.flip(0))]
    with _evaluating(model):
        packed = language_states(model, torch.cat(samples), positions.repeat(2), (_PROBED, _PROBED))
        model.set_attn_implementation("eager")
        own = [model.base_model(inputs_embeds=one[None], position_ids=positions[None], use_cache=False) for one in samples]
        model.set_attn_implementation(ATTENTION)
    alone = torch.cat([one.last_hidden_state[0] for one in own])
    if (packed - alone).abs().max() > _CLOSE * alone.abs().max():
        raise ValueError(
            f"{type(model).__name__} computes packed samples otherwise than each by itself, by more than its attention "
            "alone: need a language model of plain attention, such as Qwen2.5 or Llama"
        )


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout; the mode that was there before returns at the end."""
    before = model.training
    model.eval()
    yield
    model.train(before)


# -- attention over packed samples


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sample_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sample: [1 h t d], [1 k t d], [1 k t d] -> Float[1 t h d].

    Transformers calls it in every layer. Without `sample_lengths` the row is one sample, whose earlier keys may come from a
    cache.
    """
    del module, dropout, other
    if softcap is not None:
        raise ValueError("this language model caps its attention scores, which packed attention does not do")
    if len(query) != 1 or attention_mask is not None:
        raise ValueError("packed attention takes one row of samples, without a mask or padding")
    if sample_lengths is None:
        sample_lengths = (query.shape[2],)
        causal = query.shape[2] == key.shape[2]
        if not causal and query.shape[2] > 1:
            raise ValueError("with a cache, packed attention takes one new token at a time")
        lengths_of_keys: Sequence[int] = (key.shape[2],)
    else:
        causal, lengths_of_keys = True, sample_lengths
    if sliding_window is not None and max(lengths_of_keys) > sliding_window:
        raise ValueError(
            f"a sample of {max(lengths_of_keys)} tokens is longer than the sliding window of this language model, "
            f"{sliding_window}: lower packing.max_tokens"
        )
    read = _by_sample(query[0], key[0], value[0], sample_lengths, lengths_of_keys, scaling, causal)
    return read.transpose(0, 1)[None], None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _by_sample(
    q: Tensor, k: Tensor, v: Tensor, queries: Sequence[int], keys: Sequence[int], scaling: float | None, causal: bool
) -> Tensor:
    """Float[h t d], neighbouring samples of equal length in one call."""
    found, row, key_row = [], 0, 0
    for (size, key_size), same in groupby(zip(queries, keys, strict=True)):
        number = len(list(same))
        rows, key_rows = number * size, number * key_size
        parts = (
            _batched(q[:, row : row + rows], number),
            _batched(k[:, key_row : key_row + key_rows], number),
            _batched(v[:, key_row : key_row + key_rows], number),
        )
        read = F.scaled_dot_product_attention(
            *parts, is_causal=causal and size > 1, scale=scaling, enable_gqa=len(q) != len(k)
        )
        found.append(read.transpose(0, 1).flatten(1, 2))
        row, key_row = row + rows, key_row + key_rows
    return torch.cat(found, dim=1)


def _batched(x: Tensor, samples: int) -> Tensor:
    """[h s*l d] -> [s h l d]"""
    return x.unflatten(1, (samples, -1)).transpose(0, 1)


def _register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, packed_attention)


# -- files


def _located(name: str, weights: bool) -> tuple[Path, dict[str, str]]:
    """The folder of a language model, and the option that names a .gguf file in it."""
    path = Path(name)
    if path.suffix == ".gguf":
        require("gguf", "mllm")
        if not path.is_file():
            raise FileNotFoundError(f"{name}: no such file")
        return path.parent, {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"{name}: no config.json: not a folder of a language model")
        return path, {}
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"{name}: no such language model; need a folder, a .gguf file, or a Hub id owner/name")
    return fetch(name, None, weights=weights, pickles=False), {}


def _check_config(name: str, config: Any) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or hasattr(config, "text_config"):
        raise ValueError(f"{name} holds a {config.model_type}, and need a causal language model of text, such as Qwen2.5")
    if getattr(config, "quantization_config", None) and not name.endswith(".gguf"):
        raise ValueError(f"{name} is quantised: name the folder of the full weights")


@contextmanager
def _without_initialisation() -> Iterator[None]:
    """Leave new weights without values: they are read from a file next."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        yield


def _copy(own: Tensor, stored: Tensor) -> None:
    """Copy a weight; rows that the stored one lacks become the mean of its rows."""
    if stored.shape == own.shape:
        own.copy_(stored)
        return
    if stored.shape[1:] != own.shape[1:] or len(stored) > len(own):
        raise CheckpointError(f"weights of shape {tuple(stored.shape)} do not fit a model with {tuple(own.shape)}")
    own[: len(stored)].copy_(stored)
    own[len(stored) :].copy_(stored.float().mean(dim=0, keepdim=True).expand(len(own) - len(stored), *stored.shape[1:]))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
