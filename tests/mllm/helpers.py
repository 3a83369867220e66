"""Small language models and tokenizers, in folders as Transformers writes them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Starcoder2Config, Starcoder2ForCausalLM

from genlip.mllm.tiny_language import tiny_tokenizer

WORDS = ["a red circle left of a blue square", "two green triangles", "what is it", "how many are there", "three"]
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}  # fmt: skip


def tokenizer(bare: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ChatML; a `bare` one has bytes alone and no image token."""
    if not bare:
        return tiny_tokenizer(WORDS * 5)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), ByteLevel()
    made.add_special_tokens(["</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")


def llama(vocab_size: int, **changes: object) -> LlamaForCausalLM:
    torch.manual_seed(3)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, tie_word_embeddings=False, **SIZES | changes))


def starcoder(vocab_size: int, **changes: object) -> Starcoder2ForCausalLM:
    """With LayerNorm, which computes in float64 where it is asked to; RMSNorm computes in float32."""
    torch.manual_seed(3)
    return Starcoder2ForCausalLM(Starcoder2Config(vocab_size=vocab_size, tie_word_embeddings=True, **SIZES | changes))


def language_folder(folder: Path, kind=llama, bare: bool = False, **changes: object) -> Path:
    """A language model with its tokenizer; its vocabulary is exactly full."""
    words = tokenizer(bare)
    model = kind(len(words), **changes)
    model.config.eos_token_id = words.eos_token_id
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
