"""Tiny language: a small language model with random weights and a tokenizer that is trained on the data.

In: texts. Out: a config and a tokenizer with a chat template. `model.language_model: random:tiny` names it, for trials and
tests that need no download.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genlip.data.captions import train_tokenizer
from genlip.extras import require

__all__ = ["TINY", "tiny_config", "tiny_tokenizer"]

TINY = "random:tiny"
_VOCABULARY = 768
_START, _END, _IMAGE = "<|im_start|>", "<|im_end|>", "<image>"
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_config() -> Any:
    """The Transformers config: a LLaMA of 4 layers of width 128."""
    library = require("transformers", "mllm")
    return library.LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=_VOCABULARY,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )


def tiny_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE that is trained on texts, with the special tokens and the chat template of ChatML."""
    library = require("transformers", "mllm")
    tokenizer = train_tokenizer(texts, _VOCABULARY - 2)  # it has <|im_end|> already
    tokenizer.add_special_tokens([_START, _END, _IMAGE])
    wrapped = library.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=_END,
        pad_token=_END,
        extra_special_tokens=[_START, _IMAGE],
    )
    wrapped.chat_template = _CHATML
    return wrapped
