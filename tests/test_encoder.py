"""`genlip.encoder`: a speaker is an encoder, layers are counted as lists are, and fingerprints follow the weights."""

import pytest
import torch
from torch import nn

from genlip.encoder import (
    Encoder,
    Features,
    check_batches,
    check_one_limit,
    evaluating,
    layer_numbers,
    weights_fingerprint,
)

from .evaluate.speaking import small_speaker


def test_a_speaker_is_an_encoder():
    encoder: Encoder = small_speaker()  # for mypy
    members = [name for name in vars(Encoder) if not name.startswith("_")]
    assert len(members) > 10
    assert all(hasattr(encoder, name) for name in members)


def test_layers_are_counted_from_either_end():
    assert layer_numbers([0, 2, -1, -3], 3) == [0, 2, 2, 0]
    for layer in (3, -4):
        with pytest.raises(ValueError, match=f"layer {layer} of a model with 3 layers: need -3 to 2"):
            layer_numbers([layer], 3)


def test_the_mode_of_a_model_returns_also_after_an_error():
    model = nn.Dropout()
    modes = []

    def fail():
        with evaluating(model):
            modes.append(model.training)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [*modes, model.training] == [False, True]
    with evaluating(model.eval()):
        pass
    assert not model.training


def test_features_are_shown_in_one_short_line():
    shown = repr(Features(torch.zeros(6, 4), (2, 3)))
    assert shown == "Features(2 x 3 patches of width 4, float32 on cpu)"


def test_a_fingerprint_changes_with_any_weight_that_counts_and_with_no_other():
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


def test_lists_and_limits_that_cannot_be_are_named():
    check_batches([b"one"], 1, tuple)
    for single in ("a.png", b"one", (1, 2)):
        with pytest.raises(TypeError, match=r"images is a single \w+: give a list, such as \[image\]"):
            check_batches(single, 1, tuple)
    with pytest.raises(ValueError, match="batch_size is 0: it must be at least 1"):
        check_batches([], 0, tuple)
    check_one_limit(8, None)
    for both in ((8, 8), (None, None)):
        with pytest.raises(ValueError, match=f"size {both[0]} and max_patches {both[1]}: give one of both"):
            check_one_limit(*both)
