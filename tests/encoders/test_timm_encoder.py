"""timm's towers as encoders: pixels of timm's own transform, features of its own forward pass, and nothing guessed."""

import json
from functools import partial

import numpy as np
import pytest
import timm as library
import torch
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from timm.layers import LayerNorm

import genlip
from genlip.encoders import TimmEncoder, timm
from genlip.model.checkpoint import CheckpointError

from ..export.hub_standin import hub_at, running_hub
from .towers import IMAGES, random_timm

TOWERS = {
    "siglip": ("vit_base_patch16_siglip_224", {"img_size": 64}),
    "siglip 2": ("vit_base_patch32_siglip_256", {"img_size": 64}),
    "siglip of mean": ("vit_base_patch16_siglip_gap_224", {"img_size": 64}),
    "class token": ("vit_base_patch16_224", {"img_size": 64}),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 56}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    "dinov3": ("vit_small_patch16_dinov3", {"img_size": 64, "num_heads": 2}),
}


@pytest.mark.parametrize("tower", TOWERS)
def test_pixels_are_those_of_timms_transform(tower):
    name, arguments = TOWERS[tower]
    model = random_timm(name, **arguments)
    encoder, side = TimmEncoder(model, tower), arguments["img_size"]
    config = resolve_data_config({"input_size": (3, side, side)}, model=model)
    transform = create_transform(**config, is_training=False)
    for image in IMAGES:
        np.testing.assert_array_equal(encoder.prepare(image).patches, transform(image).numpy())


@pytest.mark.parametrize("tower", TOWERS)
def test_features_are_those_of_timms_forward_pass_without_other_tokens(tower):
    name, arguments = TOWERS[tower]
    model = random_timm(name, **arguments).double()
    encoder = TimmEncoder(model, tower)
    pixels = torch.stack([torch.from_numpy(encoder.prepare(image).patches) for image in IMAGES]).double()
    with torch.no_grad():
        expected = model.forward_features(pixels)[:, model.num_prefix_tokens :]
    for one, rows in zip(encoder.encode(IMAGES, 2), expected, strict=True):
        assert len(rows) == one.grid[0] * one.grid[1]
        torch.testing.assert_close(one.patches, rows, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("tower", TOWERS)
def test_layers_are_before_the_last_norm(tower):
    name, arguments = TOWERS[tower]
    encoder = TimmEncoder(random_timm(name, **arguments), tower)
    states = []
    encoder.model.blocks[0].register_forward_hook(lambda _, __, state: states.append(state))
    found, features = encoder.encode_layers(IMAGES, [-1, 0], 16), encoder.encode(IMAGES, 16)
    for place, ((last, first), one) in enumerate(zip(found, features, strict=True)):
        torch.testing.assert_close(first.patches, states[0][place, encoder.model.num_prefix_tokens :])
        torch.testing.assert_close(encoder.last_norm(last.patches), one.patches)


def test_naflex_models_read_native_images_each_on_its_grid():
    model = random_timm("naflexvit_base_patch16_siglip")
    encoder = TimmEncoder(model, "naflex", max_patches=20)
    config = resolve_data_config({}, model=model)
    transform = create_transform(**config, is_training=False, naflex=True, patch_size=16, max_seq_len=20)
    for image, one in zip(IMAGES, encoder.encode(IMAGES, 3), strict=True):
        pixels = transform(image)
        np.testing.assert_array_equal(encoder.prepare(image).patches, pixels.numpy())
        assert one.grid == (pixels.shape[1] // 16, pixels.shape[2] // 16)
        assert one.grid[0] * one.grid[1] <= 20
        with torch.no_grad():
            torch.testing.assert_close(one.patches, model.forward_features(pixels[None])[0], rtol=1e-5, atol=1e-5)
    assert encoder.image_settings() == {"resize": "native", "patches": [1, 20]}
    assert encoder.resized(max_patches=6).prepare(IMAGES[0]).grid == (2, 2)
    with pytest.raises(ValueError, match=r"naflex reads native images \(max_patches, --budgets\) alone"):
        encoder.resized(size=64)


def test_another_size_is_timms_own_resampling_and_only_on_request(tmp_path):
    save_file(library.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    encoder = timm("test_vit.r160_in1k", checkpoint=tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"positions for images of 160 pixels, and the size is 96: give size=160, or"):
        encoder.resized(size=96)
    with pytest.raises(ValueError, match="size 100 is no multiple of the patch size 16"):
        encoder.resized(size=100)
    other = timm("test_vit.r160_in1k", checkpoint=tmp_path / "w.safetensors", size=96, interpolate_positions=True)
    dynamic = library.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
    dynamic.load_state_dict(encoder.model.state_dict())
    pixels = torch.from_numpy(other.prepare(IMAGES[1]).patches)[None]
    with torch.no_grad():
        expected = dynamic.forward_features(pixels)[0, dynamic.num_prefix_tokens :]
    torch.testing.assert_close(other.encode([IMAGES[1]])[0].patches, expected)
    rotary = TimmEncoder(random_timm("vit_small_patch16_dinov3", num_heads=2), "rotary")
    assert rotary.resized(size=64).encode(IMAGES[:1])[0].grid == (4, 4)


def test_a_checkpoint_is_loaded_whole_and_its_classifier_left_out(tmp_path):
    torch.manual_seed(1)
    whole = library.create_model("test_vit", num_classes=7).eval()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    for checkpoint in (tmp_path, tmp_path / "model.safetensors"):
        encoder = timm("test_vit.r160_in1k", checkpoint=checkpoint)
        pixels = torch.from_numpy(encoder.prepare(IMAGES[0]).patches)[None]
        with torch.no_grad():
            expected = whole.forward_features(pixels)[0, whole.num_prefix_tokens :]
        torch.testing.assert_close(encoder.encode(IMAGES[:1])[0].patches, expected)
        assert encoder.name == f"timm:test_vit.r160_in1k@{checkpoint}"


def test_a_folder_in_timms_layout_names_its_model(tmp_path):
    model = library.create_model("test_vit", num_classes=0, depth=2)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    cfg = {"mean": [0.1] * 3, "std": [0.2] * 3, "interpolation": "bilinear", "crop_pct": 1.0}
    cfg |= {"input_size": [3, 160, 160], "fixed_input_size": True}
    config = {"architecture": "test_vit", "model_args": {"depth": 2}, "pretrained_cfg": cfg}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = timm(tmp_path)
    assert (encoder.layers, encoder.name) == (2, f"timm:{tmp_path}")
    assert encoder.preprocessing()["mean"] == [0.1] * 3
    assert encoder.preprocessing()["interpolation"] == "bilinear"


def folder_of(path, cfg, **arguments):
    """A folder in timm's layout with this `pretrained_cfg`."""
    path.mkdir(exist_ok=True)
    save_file(library.create_model("test_vit", num_classes=7, **arguments).state_dict(), path / "model.safetensors")
    config = {"architecture": "test_vit", "model_args": arguments, **cfg}
    (path / "config.json").write_text(json.dumps(config))
    return path


WHOLE = {"mean": [0.1] * 3, "std": [0.2] * 3, "interpolation": "bilinear", "crop_pct": 0.7}


@pytest.mark.parametrize("cfg", [{}, {"pretrained_cfg": {}}, {"pretrained_cfg": {"mean": [0.1] * 3}}])
def test_settings_that_a_folder_lacks_are_given_and_never_guessed(cfg, tmp_path):
    folder = folder_of(tmp_path, cfg)
    with pytest.raises(ValueError, match=r'does not say .*std, interpolation, crop_pct of.*"crop_pct": …}'):
        timm(folder)
    encoder = timm(folder, preprocessing=WHOLE)
    assert {key: encoder.preprocessing()[key] for key in WHOLE} == WHOLE


def test_settings_of_older_folders_are_beside_the_architecture(tmp_path):
    encoder = timm(folder_of(tmp_path, {**WHOLE, "num_classes": 7, "labels": ["a"]}))
    assert {key: encoder.preprocessing()[key] for key in WHOLE} == WHOLE


def test_a_checkpoint_without_a_tag_needs_its_preprocessing(tmp_path):
    file = folder_of(tmp_path, {}) / "model.safetensors"
    with pytest.raises(ValueError, match=r"its name has no tag, so mean, .* are unknown: .* one of test_vit\.r160_in1k; or"):
        timm("test_vit", checkpoint=file)
    encoder = timm("test_vit", checkpoint=file, preprocessing=WHOLE)
    assert {key: encoder.preprocessing()[key] for key in WHOLE} == WHOLE
    with pytest.raises(TypeError, match=r"preprocessing has no keyword 'meen'; did you mean mean\?"):
        timm("test_vit.r160_in1k", checkpoint=file, preprocessing={"meen": 0})


def test_images_and_patches_that_are_not_square_are_refused():
    for arguments, message in (
        ({"img_size": (32, 64)}, "siglip reads images of 32 x 64 pixels: only square ones are supported"),
        ({"img_size": 64, "patch_size": (16, 32)}, "siglip reads patches of 16 x 32 pixels: only square ones"),
    ):
        with pytest.raises(ValueError, match=message):
            TimmEncoder(random_timm(**arguments), "siglip")


def test_rotary_models_without_a_stored_size_need_one():
    model = random_timm("vit_small_patch16_dinov3", img_size=64, num_heads=2)
    model.pretrained_cfg = WHOLE
    with pytest.raises(ValueError, match="rotary does not say the size of its images: give size=…"):
        TimmEncoder(model, "rotary")
    assert TimmEncoder(model, "rotary", size=64).size == 64
    native = random_timm("naflexvit_base_patch16_siglip")
    native.pretrained_cfg = {**native.pretrained_cfg, "input_size": (3, 32, 64)}
    assert TimmEncoder(native).max_patches == 8
    native.pretrained_cfg = WHOLE
    with pytest.raises(ValueError, match="does not say the size of its images: give max_patches=…"):
        TimmEncoder(native)


def test_weights_on_the_hub_are_read_from_safetensors_alone(tmp_path, monkeypatch):
    whole = library.create_model("test_vit", num_classes=1000).eval()
    with running_hub(tmp_path / "hub") as hub:
        hub_at(hub.url, tmp_path / "home", monkeypatch)
        with pytest.raises(
            CheckpointError, match=r"test_vit: weights published with timm: timm/test_vit\.r160_in1k: no such"
        ):
            timm("test_vit")
        folder = hub.branch("timm/test_vit.r160_in1k")
        folder.mkdir(parents=True)
        torch.save(whole.state_dict(), folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"timm/test_vit\.r160_in1k: it has no model\.safetensors; other formats"):
            timm("test_vit")
        save_file(whole.state_dict(), folder / "model.safetensors")
        encoder = timm("test_vit")
        assert hub.fetched() == ["model.safetensors"]
    pixels = torch.from_numpy(encoder.prepare(IMAGES[0]).patches)[None]
    with torch.no_grad():
        expected = whole.forward_features(pixels)[0, whole.num_prefix_tokens :]
    torch.testing.assert_close(encoder.encode(IMAGES[:1])[0].patches, expected)
    assert encoder.preprocessing()["crop_pct"] == library.get_pretrained_cfg("test_vit").crop_pct


def test_another_preprocessing_is_in_the_name():
    model = random_timm(img_size=64)
    same, other = {"crop_pct": model.pretrained_cfg["crop_pct"]}, {"crop_pct": 0.8, "mean": [0.1] * 3}
    assert TimmEncoder(model, "timm:siglip", preprocessing=same).name == "timm:siglip"
    assert TimmEncoder(model, "timm:siglip", squash=True).name == "timm:siglip+squash"
    assert TimmEncoder(model, "timm:siglip", preprocessing=other).name == "timm:siglip+crop_pct=0.8+mean=0.1,0.1,0.1"


def test_squashing_keeps_the_whole_image():
    encoder = TimmEncoder(random_timm(img_size=64), "siglip")
    squashed = TimmEncoder(random_timm(img_size=64), "siglip", squash=True)
    assert (encoder.whole_image, squashed.whole_image) == (False, True)
    assert squashed.preprocessing()["crop_mode"] == "squash"
    assert encoder.fingerprint() != squashed.fingerprint()


def test_the_fingerprint_follows_weights_and_preprocessing():
    one = TimmEncoder(random_timm(img_size=64))
    assert one.fingerprint() == TimmEncoder(random_timm(img_size=64)).fingerprint()
    assert one.fingerprint() != TimmEncoder(random_timm(img_size=64), preprocessing={"crop_pct": 0.8}).fingerprint()
    with torch.no_grad():
        one.model.patch_embed.proj.weight[0] += 1
    assert one.fingerprint() != TimmEncoder(random_timm(img_size=64)).fingerprint()
    json.dumps([one.fingerprint(), one.description()])


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("vit_base_patch16_siglip_224", {"act_layer": "gelu"}, {"act_layer": "quick_gelu"}),
        (
            "vit_base_patch16_siglip_224",
            {"norm_layer": partial(LayerNorm, eps=1e-6)},
            {"norm_layer": partial(LayerNorm, eps=1e-2)},
        ),
        ("vit_small_patch16_dinov3", {"rope_temperature": 100.0}, {"rope_temperature": 7.0}),
    ],
)
def test_the_fingerprint_follows_what_is_computed_with_the_same_weights(name, first, second):
    one, other = (TimmEncoder(random_timm(name, img_size=64, **{"num_heads": 2, **how})) for how in (first, second))
    other.model.load_state_dict(one.model.state_dict())
    assert one.fingerprint().weights == other.fingerprint().weights
    before = one.fingerprint()
    assert not torch.equal(one.encode(IMAGES[:1])[0].patches, other.encode(IMAGES[:1])[0].patches)
    assert one.fingerprint() == before, "a forward pass changes nothing"
    assert before != other.fingerprint()


def test_an_activation_that_is_a_function_is_named_in_the_fingerprint():
    one = TimmEncoder(random_timm(img_size=64))
    before = one.fingerprint()
    one.model.blocks[0].function = torch.nn.functional.mish
    assert one.fingerprint() != before
    json.dumps(one.fingerprint())


def test_a_tower_says_what_it_is():
    encoder = TimmEncoder(random_timm(img_size=64), "timm:siglip")
    assert (encoder.width, encoder.heads, encoder.layers, encoder.patch_size) == (32, 4, 2, 16)
    assert repr(encoder) == "TimmEncoder(timm:siglip, 2 layers of width 32, fixed 64 pixels, float32 on cpu)"
    assert encoder.description()["encoder"]["library"] == f"timm {library.__version__}"
    assert genlip.encoders.timm is timm


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet18", {}, "resnet18: timm's ResNet is not among the supported classes VisionTransformer, Eva, NaFlexVit"),
        ("beit_base_patch16_224", {"pretrained": True}, "timm's Beit is not among the supported classes"),
        ("test_vit.other", {}, r"test_vit\.other: timm .* has no such tag: need one of test_vit\.r160_in1k"),
        ("hf-hub:owner/name", {}, "hf-hub: is not supported: give a name of timm, or a folder with config.json and"),
        ("local-dir:/models/vit", {}, "local-dir: is not supported: give a name of timm, or a folder"),
        (
            "naflexvit_base_patch16_siglip",
            {"squash": True},
            "reads native images, which are never cropped: leave squash .--squash. out",
        ),
        (
            "test_vit",
            {"squash": True, "preprocessing": {"crop_pct": 0.9}},
            "has a crop in preprocessing: leave squash .--squash. out",
        ),
        ("nonsense", {}, "nonsense: timm .* has no such model"),
        ("test_vit", {"max_patches": 9}, "reads images of a fixed size: give size instead of max_patches"),
        (
            "test_vit",
            {"preprocessing": {"mean": None}},
            r'does not say mean of its images: .*give preprocessing={"mean": …}',
        ),
        ("naflexvit_base_patch16_siglip", {"size": 64}, "reads native images: give max_patches instead of size"),
    ],
)
def test_what_cannot_be_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        timm(name, **{"pretrained": False, **arguments})


def test_weights_that_do_not_fit_or_could_run_code_are_refused(tmp_path):
    torch.save({}, tmp_path / "model.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    for file, message in (
        ("model.pth", r"weights are read from \.safetensors files alone"),
        ("other.safetensors", "parameters do not fit VisionTransformer:\n  a: not a parameter of this model"),
        ("damaged.safetensors", "damaged: "),
        ("none.safetensors", "no such file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            timm("test_vit.r160_in1k", checkpoint=tmp_path / file)
