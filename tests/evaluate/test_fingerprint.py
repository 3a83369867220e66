"""`genlip.evaluate.fingerprint`: it follows the weights that count, bit by bit, and nothing else."""

import torch
from tokenizers import Tokenizer

from genlip.data.captions import train_tokenizer
from genlip.evaluate.fingerprint import tokenizer_fingerprint

from .speaking import small_speaker


def test_it_changes_with_any_weight_that_counts_and_with_no_other():
    model = small_speaker().model
    whole, encoder = weights_fingerprint(model), weights_fingerprint(model, ("visual.",))
    assert (whole, encoder) == (weights_fingerprint(small_speaker().model), weights_fingerprint(model, ("visual.",)))
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    assert weights_fingerprint(model) != whole
    assert weights_fingerprint(model, ("visual.",)) == encoder
    with torch.no_grad():
        model.blocks[0].self_attn.k_proj.bias[0] += 1e-3
    assert weights_fingerprint(model, ("visual.",)) != encoder


def test_a_tokenizer_is_told_by_how_it_cuts_texts_and_not_by_special_tokens():
    one, other = (train_tokenizer([text] * 3, 270) for text in ("red circles", "blue squares"))
    twin = Tokenizer.from_str(one.to_str())
    assert tokenizer_fingerprint(one) == tokenizer_fingerprint(twin) != tokenizer_fingerprint(other)
    twin.add_special_tokens(["<|image_pad|>"])
    twin.enable_truncation(3)
    assert tokenizer_fingerprint(one) == tokenizer_fingerprint(twin)
