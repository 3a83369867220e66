"""Encoding in 8 bits: near the features in float32, and refused where it cannot work."""

import builtins

import pytest
import torch

import genlip
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.model.quantize import quantize_encoder

from .helpers import random_pack, random_samples


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GenLIP(GenLIPConfig.preset("tiny")).eval()


@torch.no_grad()
def test_features_point_where_those_in_float32_do(model):
    pack = random_pack(model.config, [(4, 5, 0), (2, 2, 0)])
    exact = model.encode(pack)
    found = quantize_encoder(model).encode(pack)
    assert (found - exact).abs().max() > 0
    assert torch.cosine_similarity(found, exact).min() > 0.99


@torch.no_grad()
def test_images_of_a_call_share_the_range_of_their_activations(model):
    """An image's features depend a little on its batch: nearly the same, not bit for bit."""
    quantize_encoder(model)
    one, other = random_samples(model.config, [(4, 5, 0), (2, 2, 0)])
    alone, together = model.encode(Pack.of([one])), model.encode(Pack.of([one, other]))[:20]
    assert (alone - together).abs().max() > 0
    assert torch.cosine_similarity(alone, together).min() > 0.99


def test_every_product_of_the_blocks_is_in_8_bits(model):
    kinds = {
        type(module).__module__ for module in quantize_encoder(model).visual.modules() if hasattr(module, "in_features")
    }
    assert len(kinds) == 1
    assert "quantized" in kinds.pop()


def test_captions_are_refused_in_one_line(model):
    pack = random_pack(model.config, [(2, 2, 0)])
    with pytest.raises(ValueError, match=r"captions need the unquantised weights"):
        genlip.generate(quantize_encoder(model), pack)


def test_other_precisions_are_refused(model):
    with pytest.raises(ValueError, match="in bfloat16 on cpu"):
        quantize_encoder(model.bfloat16())


def test_a_pytorch_without_it_is_named(model, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "torch.ao.quantization":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="has no dynamic quantisation; use genlip export"):
        quantize_encoder(model)
