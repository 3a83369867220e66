"""`genlip.model.genlip`: recorded outputs of the published layout, and what must never change them."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

from .helpers import (
    EXACT,
    RECORDED,
    VARIANTS,
    examples,
    gradients,
    pack_shapes,
    random_pack,
    random_samples,
    recorded_model,
    recorded_samples,
    recording,
    sample_shapes,
    seeds,
    small_config,
    small_model,
)

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def variant_model(variant: str) -> GenLIP:
    return small_model(**VARIANTS[variant])


def outputs(model: GenLIP, samples: list[Sample]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Features, logits and token losses of each sample of a pack."""
    pack = Pack.of(samples)
    patches = [len(sample.patches) for sample in samples]
    text = [len(sample.token_ids) for sample in samples]
    parts = model.encode(pack).split(patches), model.logits(pack).split(text), model.token_losses(pack).split(text)
    return list(zip(*parts, strict=True))


def assert_near(actual: Tensor, recorded: Tensor) -> None:
    """Within 1e-4 of the largest recorded value."""
    assert actual.shape == recorded.shape
    assert (actual - recorded).abs().max() < 1e-4 * recorded.abs().max()


# Recorded outputs


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_features_logits_and_losses_are_the_recorded_ones(name, attention):
    model = recorded_model(name)
    model.attention = attention
    for sample, recorded in zip(recorded_samples(name), recording(name).samples, strict=True):
        ((features, logits, losses),) = outputs(model, [sample])
        assert_near(features, recorded["features"])
        assert_near(logits, recorded["text_logits"])
        assert_near(losses, recorded["token_nll"])
        assert_near(model(Pack.of([sample])), recorded["token_nll"].sum())


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("name", RECORDED)
def test_gradient_norms_are_the_recorded_ones(name, attention):
    model, recorded = recorded_model(name), recording(name)
    model.attention = attention
    assert sorted(dict(model.named_parameters())) == recorded.gradient_names
    for sample, outcome in zip(recorded_samples(name), recorded.samples, strict=True):
        by_name = gradients(model, model(Pack.of([sample])) / len(sample.token_ids))
        norms = torch.stack([by_name[parameter].norm() for parameter in recorded.gradient_names])
        torch.testing.assert_close(norms, outcome["grad_norms"], rtol=1e-3, atol=1e-6)
        assert_near(norms, outcome["grad_norms"])


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("name", RECORDED)
@torch.no_grad()
def test_one_pack_of_all_recorded_samples_gives_the_same_as_each_alone(name, attention):
    model = recorded_model(name)
    model.attention = attention
    packed = outputs(model, recorded_samples(name))
    for (features, logits, losses), recorded in zip(packed, recording(name).samples, strict=True):
        assert_near(features, recorded["features"])
        assert_near(logits, recorded["text_logits"])
        assert_near(losses, recorded["token_nll"])


# What must never change an output


@every_variant
@given(data=st.data(), shapes=pack_shapes, seed=seeds)
@examples(8)
@torch.no_grad()
def test_order_and_neighbours_in_a_pack_never_change_a_sample(variant, data, shapes, seed):
    model = variant_model(variant)
    samples = random_samples(model.config, shapes, seed)
    order = data.draw(st.permutations(range(len(samples))))
    packed = outputs(model, [samples[i] for i in order])
    for i, together in zip(order, packed, strict=True):
        (alone,) = outputs(model, [samples[i]])
        for got, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(got, expected, **EXACT)


@every_variant
@given(shapes=pack_shapes, seed=seeds)
@examples(8)
@torch.no_grad()
def test_no_caption_ever_changes_a_patch(variant, shapes, seed):
    model = variant_model(variant)
    samples = random_samples(model.config, shapes, seed)
    other_text = [sample.with_text(range(5)) for sample in samples]
    expected = model.encode(Pack.of([sample.with_text([]) for sample in samples]))
    for pack in (Pack.of(samples), Pack.of(other_text)):
        patches = model.ln_post(model.trunk(pack))[: pack.num_patches]
        torch.testing.assert_close(patches, expected, **EXACT)
        torch.testing.assert_close(model.encode(pack), expected, **EXACT)


@every_variant
@given(data=st.data(), grid=st.tuples(st.integers(1, 4), st.integers(1, 5)), length=st.integers(2, 6), seed=seeds)
@examples(8)
@torch.no_grad()
def test_a_later_token_never_changes_an_earlier_prediction(variant, data, grid, length, seed):
    model = variant_model(variant)
    (sample,) = random_samples(model.config, [(*grid, length)], seed)
    place = data.draw(st.integers(0, length - 1), label="edited token")
    tokens, edited = sample.token_ids.tolist(), sample.token_ids.tolist()
    edited[place] = (tokens[place] + 1) % model.config.vocab_size
    ((_, before, losses),) = outputs(model, [sample.with_text(tokens)])
    ((_, after, edited_losses),) = outputs(model, [sample.with_text(edited)])
    torch.testing.assert_close(after[: place + 1], before[: place + 1], **EXACT)
    torch.testing.assert_close(edited_losses[:place], losses[:place], **EXACT)
    assert (after[place + 1 :] - before[place + 1 :]).abs().amax(dim=1).gt(1e-6).all()  # the test can tell


@every_variant
@torch.no_grad()
def test_every_patch_speaks_to_every_other_patch_and_to_every_token(variant):
    model = variant_model(variant)
    (sample,) = random_samples(model.config, [(2, 2, 3)])
    ((features, logits, _),) = outputs(model, [sample])
    for i in range(4):
        patches = sample.patches.copy()
        patches[i] = -patches[i]
        ((other_features, other_logits, _),) = outputs(model, [Sample(patches, (2, 2), sample.token_ids, [True] * 3)])
        assert (other_features - features).abs().amax(dim=1).min() > 1e-6
        assert (other_logits - logits).abs().amax(dim=1).min() > 1e-6


@torch.no_grad()
def test_the_same_patches_in_another_grid_are_another_image():
    model = small_model()
    (sample,) = random_samples(model.config, [(2, 3, 0)])
    wide, tall = (model.encode(Pack.of([Sample(sample.patches, grid)])) for grid in ((2, 3), (3, 2)))
    assert (wide - tall).abs().amax(dim=1).min() > 1e-6


@every_variant
@given(shapes=pack_shapes, missing=st.integers(1, 9), seed=seeds)
@examples(8)
def test_filling_a_pack_up_changes_neither_its_loss_nor_its_gradients(variant, shapes, missing, seed):
    model = variant_model(variant)
    pack = random_pack(model.config, shapes, seed)
    loss, padded = model(pack), model(pack.padded(pack.num_rows + missing))
    torch.testing.assert_close(padded, loss, **EXACT)
    expected, got = gradients(model, loss), gradients(model, padded)
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


# The fused computation of the loss


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@every_variant
@given(shapes=pack_shapes, seed=seeds)
@examples(8)
def test_the_loss_reads_only_what_it_needs_and_equals_the_full_computation(variant, attention, shapes, seed):
    model = variant_model(variant)
    model.attention = attention
    pack = random_pack(model.config, shapes, seed)
    hidden = model.ln_post(model.trunk(pack, predicting=False))[pack.predictors]
    logits = model.lm_head(model.proj(hidden))
    losses = F.cross_entropy(logits, pack.token_ids, reduction="none") * pack.supervised
    torch.testing.assert_close(model.logits(pack), logits, **EXACT)
    torch.testing.assert_close(model.token_losses(pack), losses, **EXACT)
    torch.testing.assert_close(model(pack), losses.sum(), **EXACT)
    expected, got = gradients(model, losses.sum()), gradients(model, model(pack))
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@every_variant
def test_packs_that_share_an_update_sum_their_gradients(variant):
    model = variant_model(variant)
    samples = random_samples(model.config, [(2, 3, 6), (1, 2, 1), (3, 3, 4), (2, 1, 0)])
    packs = [Pack.of(samples[:1]), Pack.of(samples[1:])]
    parts = [gradients(model, model(pack) / sum(int(pack.supervised.sum()) for pack in packs)) for pack in packs]
    joint = Pack.of(samples)
    for name, expected in gradients(model, model(joint) / joint.supervised.sum()).items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], expected, **EXACT)


def test_bfloat16_autocast_stays_near_the_float32_loss():
    model = small_model().float()
    pack = random_pack(model.config, [(2, 3, 6), (1, 2, 1), (3, 3, 4)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(pack)
    expected = model(pack)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0)
    got, wanted = (torch.cat([g.flatten() for g in gradients(model, x).values()]) for x in (loss, expected))
    assert F.cosine_similarity(got, wanted, dim=0) > 0.99


# Small sequences


@every_variant
@given(shape=sample_shapes, seed=seeds)
@examples(8)
@torch.no_grad()
def test_an_empty_caption_leaves_an_encoder(variant, shape, seed):
    model = variant_model(variant)
    pack = random_pack(model.config, [(*shape[:2], 0)], seed)
    assert model(pack).item() == 0
    assert (model.logits(pack).shape, model.token_losses(pack).shape) == ((0, 17), (0,))
    torch.testing.assert_close(model.ln_post(model.trunk(pack)), model.encode(pack), **EXACT)


def test_a_pack_without_text_has_a_loss_of_zero_and_zero_gradients():
    model = small_model()
    loss = model(random_pack(model.config, [(2, 2, 0), (1, 3, 0)]))
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


@every_variant
@torch.no_grad()
def test_a_single_patch_is_a_softmax_over_itself(variant):
    model = variant_model(variant)
    (sample,) = random_samples(model.config, [(1, 1, 0)])
    x = torch.from_numpy(sample.patches) @ model.vision_embeddings["patch_embedding"].weight.flatten(1).T
    x = x + model.vision_embeddings["patch_embedding"].bias
    for block in model.blocks:
        attention, normed = block.self_attn, block.layer_norm1(x)
        gate = attention.q_proj(normed)[:, 24:].sigmoid() if attention.gated else 1.0
        x = x + block.layer_scale1(attention.out_proj(gate * attention.v_proj(normed)))
        x = x + block.layer_scale2(block.mlp(block.layer_norm2(x)))
    torch.testing.assert_close(model.encode(Pack.of([sample])), model.ln_post(x), **EXACT)


@every_variant
@given(grids=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=5), seed=seeds)
@examples(8)
@torch.no_grad()
def test_a_first_token_is_what_the_last_patch_says(variant, grids, seed):
    model = variant_model(variant)
    pack = random_pack(model.config, [(*grid, 1) for grid in grids], seed)
    ends = itertools.accumulate(rows * columns for rows, columns in grids)
    said = model.speak(model.encode(pack)[[end - 1 for end in ends]])
    torch.testing.assert_close(model.logits(pack), said, **EXACT)


# Patches


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@torch.no_grad()
def test_bytes_are_normalised_to_minus_one_and_one(dtype):
    model = small_model().to(dtype)
    raw = torch.arange(6 * 48).reshape(6, 48).remainder(256).to(torch.uint8)
    normalised = (raw.double() / 255 - 0.5) / 0.5
    got, expected = (model.embed_patches(patches) for patches in (raw, normalised))
    torch.testing.assert_close(got, expected, **(EXACT if dtype == torch.float64 else {}))


@every_variant
@torch.no_grad()
def test_embedding_patches_is_the_convolution_of_the_image(variant):
    model = variant_model(variant)
    size, channels = model.config.patch_size, model.config.num_channels
    image = torch.randn(channels, 2 * size, 3 * size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cut = [image[:, r : r + size, c : c + size] for r in (0, size) for c in (0, size, 2 * size)]
    expected = model.vision_embeddings["patch_embedding"](image[None])[0].flatten(1).T
    torch.testing.assert_close(model.embed_patches(torch.stack([p.flatten() for p in cut])), expected, **EXACT)


def test_patches_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"patches of 768 numbers, .* 3 channels of 4x4 pixels = 48 numbers"):
        small_model().embed_patches(torch.zeros(2, 768))


# Training


def test_blocks_are_compiled_once_for_packs_of_any_number_of_samples_and_compute_the_same():
    plain, compiled = (small_model(drop_path_rate=0.5).train() for _ in range(2))
    counter = CompileCounter()
    compiled.compile_blocks(counter)
    frames = []
    for samples in range(2, 8):
        pack = random_pack(plain.config, [(2, 2 + i % 2, 2 + i) for i in range(samples)], seed=samples)
        torch.manual_seed(samples)  # DropPath draws the same for both
        expected = plain(pack)
        torch.manual_seed(samples)
        torch.testing.assert_close(compiled(pack), expected, **EXACT)
        frames.append(counter.frame_count)
    assert frames == [frames[0]] * 6


@torch.no_grad()
def test_drop_path_drops_in_training_only():
    config, shapes = small_config(drop_path_rate=0.5), [(2, 3, 4)] * 20
    model, kept = small_model(drop_path_rate=0.5), small_model()
    pack = random_pack(config, shapes)
    torch.testing.assert_close(model.eval().token_losses(pack), kept.token_losses(pack), **EXACT)
    torch.manual_seed(0)
    first, second = (model.train().token_losses(pack) for _ in range(2))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(kept.train().token_losses(pack), kept.eval().token_losses(pack), **EXACT)


def adam_losses(model: GenLIP, pack: Pack, steps: int) -> Iterator[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = model(pack) / pack.supervised.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


@pytest.mark.parametrize("variant", ["default", "projected"])
def test_a_small_model_learns_one_pack_by_heart(variant):
    torch.manual_seed(0)
    model = GenLIP(small_config(hidden_size=48, intermediate_size=96, ls_init_value=1.0, **VARIANTS[variant]))
    losses = list(adam_losses(model, random_pack(model.config, [(2, 3, 6), (3, 1, 6), (2, 3, 6), (1, 1, 3)]), 150))
    assert abs(losses[0] - math.log(17)) < 0.5  # at first, all tokens are about equally likely
    assert losses[-1] < 0.05


# Initialisation


@pytest.fixture(scope="module")
def fresh() -> GenLIP:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4, "vocab_size": 1000}
    return GenLIP(small_config(**sizes, text_embed_dim=96, patch_size=8))


def test_attention_and_feed_forward_start_xavier_uniform(fresh):
    linears = [linear for block in fresh.blocks for part in (block.self_attn, block.mlp) for linear in part.children()]
    assert len(linears) == 2 * (4 + 3)
    for linear in linears:
        fan_out, fan_in = linear.weight.shape
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.99 * bound < linear.weight.abs().max() <= bound
        assert abs(linear.weight.std() - bound / math.sqrt(3)) < 0.03 * bound
        assert abs(linear.weight.mean()) < 0.03 * bound


def test_everything_else_starts_normal_with_deviation_002(fresh):
    modules = [fresh.vision_embeddings["patch_embedding"], fresh.embeddings, fresh.lm_head, fresh.in_proj, fresh.proj]
    for module in modules:
        assert abs(module.weight.std() - 0.02) < 0.001
        assert abs(module.weight.mean()) < 0.001
        assert module.weight.abs().max() > 3 * 0.02  # normal, not uniform


def test_biases_start_at_zero_with_a_little_noise_in_the_feed_forward(fresh):
    noisy = {name for name, _ in fresh.named_parameters() if ".mlp." in name and name.endswith("bias")}
    for name, parameter in fresh.named_parameters():
        if name in noisy:
            assert abs(parameter.std() / 1e-6 - 1) < 0.3
        elif name.endswith("bias"):
            assert not parameter.any()
    assert len(noisy) == 2 * 3


def test_norms_start_as_the_identity_and_layer_scale_at_its_value(fresh):
    scales = [scale.lambda1 for block in fresh.blocks for scale in (block.layer_scale1, block.layer_scale2)]
    norms = [fresh.ln_post, *(norm for block in fresh.blocks for norm in (block.layer_norm1, block.layer_norm2))]
    assert all(torch.equal(scale, torch.full((128,), 0.1)) for scale in scales)
    assert all(torch.equal(norm.weight, torch.ones(128)) for norm in norms)
