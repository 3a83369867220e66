"""Kept tensors: what tensors without storage tell, against what autograd keeps of real ones."""

import pytest
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import LlamaConfig, Qwen2Config, Qwen3Config, Starcoder2Config

from genlip.encoders.timm_encoder import TimmEncoder
from genlip.encoders.transformers_encoder import TransformersEncoder
from genlip.mllm.language import build_language_model, decoder_blocks, language_states, recompute_blocks
from genlip.mllm.vision import VisionTower
from genlip.plan.kept_tensors import LivingBytes, of_language, of_tower, without_storage

from ..encoders.towers import random_timm, random_tower

CONFIGS = (LlamaConfig, Qwen2Config, Qwen3Config, Starcoder2Config)
SIZES = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 90, "head_dim": 16,
}  # fmt: skip
LENGTH = 24


def on_meta(config, trained=True):
    with torch.device("meta"):
        model = build_language_model(config, 0)
    return model.requires_grad_(trained)


def real(model, product_bytes):
    """The same with numbers, stored as training stores it."""
    found = build_language_model(model.config, 0)
    found.init_weights()
    for own, like in zip(found.parameters(), model.parameters(), strict=True):
        own.requires_grad_(like.requires_grad)
        if product_bytes == 2 and not like.requires_grad:
            own.data = own.data.bfloat16()
    return found.train()


def states(model, samples):
    like = model.get_input_embeddings().weight
    rows = torch.randn(samples * LENGTH, like.shape[1], dtype=like.dtype).requires_grad_()
    return language_states(model, rows, torch.arange(LENGTH).repeat(samples), (LENGTH,) * samples)


def bytes_kept(module, run, product_bytes):
    """By autograd from forward to backward, each storage once, without parameters and buffers."""
    found, ours = {}, {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}

    def keep(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=product_bytes == 2),
    ):
        output = run()
    assert output.requires_grad
    return sum(size for place, size in found.items() if place not in ours)


@pytest.mark.parametrize("product_bytes", [2, 4])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("config", CONFIGS)
def test_rows_of_a_language_model(config, trained, product_bytes):
    model = on_meta(config(**SIZES), trained)
    found, numbers = of_language(model, product_bytes), real(model, product_bytes)
    for expected, again in ((found.whole, False), (found.recomputed, True)):
        if again:
            recompute_blocks(numbers)
        one, two = (bytes_kept(numbers, lambda n=n: states(numbers, n), product_bytes) for n in (1, 2))
        assert expected == pytest.approx((two - one) / LENGTH)


def test_layers_that_differ_are_all_counted():
    model = on_meta(LlamaConfig(**SIZES))
    decoder_blocks(model)[1].requires_grad_(False)
    numbers = real(model, 4)
    one, two = (bytes_kept(numbers, lambda n=n: states(numbers, n), 4) for n in (1, 2))
    assert of_language(model, 4).whole == pytest.approx((two - one) / LENGTH)


def test_the_model_itself_stays_as_it_is():
    model = on_meta(LlamaConfig(**SIZES))
    of_language(model, 2)
    assert (len(decoder_blocks(model)), model.config.num_hidden_layers) == (3, 3)
    assert all(p.is_meta and p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("product_bytes", [2, 4])
@pytest.mark.parametrize("trained", [True, False])
def test_a_block_that_is_computed_again(trained, product_bytes):
    """Against all that lives during a real backward pass; gradients of weights, which exist once, are small here."""
    model = on_meta(LlamaConfig(**SIZES), trained)
    numbers = real(model, product_bytes)
    recompute_blocks(numbers)

    def added(samples):
        with LivingBytes() as living:
            with torch.autocast("cpu", torch.bfloat16, enabled=product_bytes == 2):
                output = states(numbers, samples)
            before = living.most = living.now
            output.sum().backward()
        return living.most - before

    several = (added(160) - added(80)) / 80 / LENGTH
    assert of_language(model, product_bytes).again == pytest.approx(several, rel=0.02)


def test_living_bytes_are_those_that_pytorch_tracks():
    """Peak of a step of AdamW, against MemTracker, which knows models whose parameters are all trained."""

    def trackers():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 300), nn.GELU(), nn.Linear(300, 20))
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)

        def step():
            model(torch.ones(64, 40)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        step()
        return model, optimizer, step

    model, optimizer, step = trackers()
    with (tracker := MemTracker()) as _:
        tracker.track_external(model, optimizer)
        step()
    expected = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    model, optimizer, step = trackers()
    states = [state for of_one in optimizer.state.values() for state in of_one.values()]
    with LivingBytes([*model.parameters(), *(p.grad for p in model.parameters()), *states]) as living:
        step()
    assert living.most == pytest.approx(expected, rel=0.002)  # steps are counted in whole blocks there


def test_tied_weights_stay_tied():
    model = on_meta(LlamaConfig(**SIZES, tie_word_embeddings=True))
    with without_storage(model, 4) as found:
        assert found.get_input_embeddings().weight is found.get_output_embeddings().weight
        assert [p.shape for p in found.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize("product_bytes", [2, 4])
@pytest.mark.parametrize(
    "kind", ["timm", "timm native", "siglip", "siglip2", "clip", "dinov2", "dinov2_with_registers", "dinov3_vit"]
)
def test_tokens_of_a_tower(kind, product_bytes):
    """Within 15 %: towers differ in copies and scales. Inputs of blocks alone within 27 %, since this width is small."""
    if kind.startswith("timm"):
        name = "naflexvit_base_patch16_siglip" if "native" in kind else "vit_base_patch16_siglip_224"
        size = {} if "native" in kind else {"img_size": 224}
        encoder = TimmEncoder(random_timm(name, embed_dim=64, depth=3, **size))
    else:
        encoder = TransformersEncoder(*random_tower(kind))
    tower = VisionTower(encoder)
    tower.module.train()
    expected, image = of_tower(tower, product_bytes), tower.empty_image(4)
    batches = [tower.collate([image] * number) for number in (2, 3)]
    tokens = batches[0].num_patches / 2 + encoder.prefix_tokens
    for found, again, close in ((expected.whole, False, 0.15), (expected.recomputed, True, 0.27)):
        tower.set_activation_checkpointing(again)
        two, three = (bytes_kept(tower.module, lambda batch=batch: tower(batch), product_bytes) for batch in batches)
        assert found * tokens == pytest.approx(three - two, rel=close)
