"""The vision tower in training: features and gradients against one image at a time, for every library."""

import pickle
import weakref

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genlip.data.images import ImageConfig
from genlip.encoders import TimmEncoder, TransformersEncoder
from genlip.mllm.vision import VisionTower
from genlip.speaker import Speaker

from ..encoders.towers import IMAGES, random_timm, random_tower
from ..model.helpers import EXACT, randomised, small_model

FIXED, NATIVE = ImageConfig(size=16), ImageConfig(resize="native", min_patches=2, max_patches=20)
TIMM = {
    "siglip": ("vit_base_patch16_siglip_224", {"img_size": 64}),
    "siglip of mean": ("vit_base_patch16_siglip_gap_224", {"img_size": 64}),
    "class token": ("vit_base_patch16_224", {"img_size": 64}),
    "mean of class token": ("vit_base_patch16_224", {"img_size": 64, "global_pool": "avg"}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    "dinov3": ("vit_small_patch16_dinov3", {"img_size": 64, "num_heads": 2}),
    "eva": ("eva02_base_patch14_224", {"img_size": 56}),
    "naflex": ("naflexvit_base_patch16_siglip", {}),
    "naflex with registers": ("naflexvit_base_patch16_gap", {"reg_tokens": 4}),
}
TRANSFORMERS = ["siglip", "siglip2", "clip", "dinov2", "dinov2_with_registers", "dinov3_vit"]
ENCODERS = [
    "genlip",
    "genlip native",
    *(f"timm {name}" for name in TIMM),
    *(f"transformers {name}" for name in TRANSFORMERS),
]
NATIVE_ONES = ("genlip native", "timm naflex", "timm naflex with registers", "transformers siglip2")


def opened(name):
    """A small random encoder in float64."""
    kind, _, variant = name.partition(" ")
    torch.manual_seed(0)
    if kind == "genlip":
        return Speaker(small_model(text_embed_dim=10), NATIVE if variant else FIXED)
    if kind == "timm":
        architecture, arguments = TIMM[variant]
        model = randomised(random_timm(architecture, **arguments))
        return TimmEncoder(model, name, max_patches=20 if "naflex" in variant else None)
    model, processor = random_tower(variant)
    return TransformersEncoder(model.double(), processor, name)


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return opened(request.param)


@pytest.fixture
def tower(encoder):
    return VisionTower(encoder)


def tolerance(encoder):
    """Rotary tables of DINOv3, and positions of SigLIP 2, are float32 in Transformers."""
    return {"rtol": 1e-6, "atol": 1e-6} if encoder.name in ("transformers dinov3_vit", "transformers siglip2") else EXACT


def prepared(tower):
    return [tower.encoder.prepare(image) for image in IMAGES]


def weighted(features):
    """A sum of features with fixed random weights, so that every feature has a gradient of its own."""
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=features.dtype)
    return (features * weights).sum()


def test_features_are_those_of_the_encoder_in_the_order_given(encoder, tower):
    batch = tower.collate(prepared(tower))
    expected = [encoder.encode([image])[0] for image in IMAGES]
    assert batch.grids == tuple(one.grid for one in expected)
    assert batch.num_patches == sum(len(one.patches) for one in expected)
    found = tower(batch)
    torch.testing.assert_close(found, torch.cat([one.patches for one in expected]), **tolerance(encoder))
    assert found.shape[1] == tower.width == encoder.width
    assert (len(set(batch.grids)) > 1) == (encoder.name in NATIVE_ONES or encoder.image_settings()["resize"] == "native")


def test_gradients_are_those_of_one_image_at_a_time(encoder, tower):
    images = prepared(tower)
    weights = torch.randn(64, tower.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    used = tower.parameters_used()
    parameters = {name: parameter for name, parameter in tower.module.named_parameters() if name in used}

    def gradients(batches):
        loss = sum((rows * weights[: len(rows)]).sum() for batch in batches for rows in by_image(tower, batch))
        return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))

    together, separately = gradients([images]), gradients([[one] for one in images])
    for name, other in separately.items():
        in_float32 = tolerance(encoder) != EXACT or (name == "embeds.pos_embed")  # timm resamples in float32
        atol = (1e-6 if in_float32 else 1e-11) * float(other.abs().max()) + 1e-11
        torch.testing.assert_close(together[name], other, rtol=0, atol=atol)


def by_image(tower, images):
    batch = tower.collate(images)
    return tower(batch).split([rows * columns for rows, columns in batch.grids])


def test_exactly_the_parameters_that_are_used_get_a_gradient(encoder, tower):
    weighted(tower(tower.collate(prepared(tower)))).backward()
    got = {name for name, parameter in tower.module.named_parameters() if parameter.grad is not None}
    assert got == tower.parameters_used()
    assert all(block_names <= got for block_names in names_of_blocks(tower))


def names_of_blocks(tower):
    names = {id(parameter): name for name, parameter in tower.module.named_parameters()}
    for block in tower.blocks():
        yield {names[id(parameter)] for parameter in block.parameters()}


def test_frozen_parameters_get_none_and_features_no_graph(tower):
    tower.module.requires_grad_(False)
    assert not tower(tower.collate(prepared(tower))).requires_grad


def test_a_batch_calls_each_block_once_whatever_its_images_are(encoder, tower):
    calls = []
    for number, block in enumerate(tower.blocks()):
        block.register_forward_hook(lambda *_, number=number: calls.append(number))
    for images in (prepared(tower), [tower.empty_image()]):
        tower(tower.collate(images))
        assert calls == list(range(encoder.layers))
        calls.clear()


def test_checkpointing_computes_blocks_twice_and_changes_no_gradient(tower):
    tower.module.train()  # Transformers computes again in training mode alone
    if "dinov3" in tower.encoder.name:
        pytest.skip("its positions are random in training mode")
    batch, parameters = tower.collate(prepared(tower)), list(tower.blocks()[0].parameters())
    calls = []
    linear = next(module for module in tower.blocks()[0].modules() if isinstance(module, torch.nn.Linear))
    linear.register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients(enabled):
        tower.set_activation_checkpointing(enabled)
        calls.clear()
        return torch.autograd.grad(weighted(tower(batch)), parameters), len(calls)

    (before, once), (during, twice), (after, again) = gradients(False), gradients(True), gradients(False)
    assert (once, twice, again) == (1, 2, 1)
    for one, other, last in zip(before, during, after, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
        torch.testing.assert_close(one, last, **EXACT)


def test_an_empty_image_is_as_small_as_the_tower_allows(encoder, tower):
    image, settings = tower.empty_image(), encoder.image_settings()
    fixed = settings["resize"] == "fixed" and not isinstance(encoder, Speaker)
    assert image.grid == ((settings["size"] // tower.patch_size,) * 2 if fixed else (1, 1))
    assert type(image) is type(encoder.prepare(IMAGES[0]))
    assert (image.patches.dtype, image.patches.any()) == (encoder.prepare(IMAGES[0]).patches.dtype, False)
    features = tower(tower.collate([image]))
    assert features.shape == (image.grid[0] * image.grid[1], tower.width)
    torch.testing.assert_close(features, encoder.encode([image])[0].patches, **tolerance(encoder))
    if not fixed:
        assert tower.empty_image(2).grid == (2, 2)
        assert tower(tower.collate([tower.empty_image(2)])).shape == (4, tower.width)


def test_a_genlip_has_no_parameters_of_the_text_and_shares_the_others():
    speaker = opened("genlip")
    tower = VisionTower(speaker)
    theirs = dict(speaker.model.named_parameters())
    text = {name for name in theirs if name.startswith(("embeddings", "in_proj", "proj", "lm_head"))}
    assert len(text) == 6
    assert {name: id(parameter) for name, parameter in tower.module.named_parameters()} == {
        name: id(parameter) for name, parameter in theirs.items() if name not in text
    }
    assert tower.module.state_dict().keys() == theirs.keys() - text
    assert tower.module.config == speaker.model.config
    head = weakref.ref(speaker.model.lm_head.weight)
    assert speaker.model.lm_head(torch.zeros(10).double()).shape == (17,), "the speaker keeps its text"
    del speaker, theirs
    assert head() is None, "no memory is held for it"
    tower(tower.collate([tower.empty_image()]))


def test_the_attention_of_the_tower_is_its_own():
    speaker = opened("genlip native")
    tower = VisionTower(speaker, "reference")
    assert (tower.module.attention, speaker.model.attention) == ("reference", "sdpa")
    expected = torch.cat([one.patches for one in speaker.encode(IMAGES)])
    torch.testing.assert_close(tower(tower.collate(prepared(tower))), expected, **EXACT)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in ("transformers siglip", "transformers siglip2")])
def test_work_is_what_pytorch_counts(name):
    """Images of one grid: padding is computed, and not counted. SigLIP of Transformers also computes its pooling head."""
    tower = VisionTower(opened(name))
    batch = tower.collate(prepared(tower)[:1] * 2)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        tower(batch)
    assert tower.flops(batch) == counter.get_total_flops()


def test_work_is_that_of_the_images_one_by_one(tower):
    images = prepared(tower)
    assert tower.flops(tower.collate(images)) == sum(tower.flops(tower.collate([one])) for one in images)


def test_a_batch_can_be_sent_between_processes_and_devices(tower):
    batch = tower.collate(prepared(tower))
    expected = tower(batch)
    for other in (pickle.loads(pickle.dumps(batch)), batch.to("cpu")):
        assert torch.equal(tower(other), expected)
    assert batch.to("meta").images.to("meta").device.type == "meta" if torch.is_tensor(batch.images) else True
    assert repr(batch) == f"<ImageBatch of 5 images: {batch.num_patches} patches>"


def test_a_tower_in_bfloat16_gives_features_in_it(tower):
    tower.module.bfloat16()
    features = tower(tower.collate(prepared(tower)))
    assert features.dtype == torch.bfloat16
    expected = torch.cat([one.patches for one in tower.encoder.encode(IMAGES)])
    torch.testing.assert_close(features.float(), expected.float(), rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_a_tower_without_weights_knows_its_parameters_and_its_work(encoder, tower):
    batch = tower.collate(prepared(tower))
    work, names, used = tower.flops(batch), [name for name, _ in tower.module.named_parameters()], tower.parameters_used()
    encoder.model.to("meta")
    empty = VisionTower(encoder)
    assert [name for name, _ in empty.module.named_parameters()] == names
    assert (empty.parameters_used(), empty.flops(batch)) == (used, work)
    assert all(parameter.is_meta for parameter in empty.module.parameters())


def test_mistakes_are_named():
    tower = VisionTower(opened("timm siglip"))
    with pytest.raises(ValueError, match="a batch needs at least one image"):
        tower.collate([])
    one = tower.encoder.prepare(IMAGES[0])
    with pytest.raises(ValueError, match="timm siglip reads images of one size, and these have grids of 2x2, 4x4 patches"):
        tower.collate([one, one._replace(grid=(2, 2))])

    class Other:
        name = "mine"

    with pytest.raises(TypeError, match="mine is a Other: need a Speaker or a Tower"):
        VisionTower(Other())


def test_a_tower_says_what_it_is():
    assert repr(VisionTower(opened("timm siglip"))) == (
        "VisionTower(TimmEncoder(timm siglip, 2 layers of width 32, fixed 64 pixels, float64 on cpu))"
    )
