"""`open_encoder`: every spelling opens what its library's own function opens; "random:" keeps all but the weights."""

import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest
import timm as library
import torch
from safetensors.torch import save_file

from genlip import encoders
from genlip.data.images import ImageConfig
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.encoders import open_encoder
from genlip.model.checkpoint import CheckpointError, save
from genlip.model.flops import parameters
from genlip.model.genlip import GenLIP
from genlip.recipes.recipe import load_recipe
from genlip.speaker import Speaker

from ..data.helpers import small_config, small_tokenizer
from ..export.hub_standin import hub_at, running_hub
from .towers import IMAGES, random_timm, saved_tower

KINDS = ["genlip", "timm", "timm native", "transformers", "transformers native"]
OWN = ImageConfig(resize="native", min_patches=2, max_patches=12)


def saved_genlip(folder):
    """A model of 8x8 patches with its preprocessing."""
    torch.manual_seed(0)
    save(GenLIP(small_config(num_hidden_layers=2)), folder)
    save_preprocessing(folder, Preprocessing(images=OWN), small_tokenizer())
    return folder


def saved_timm(folder, name="vit_base_patch16_siglip_224", **arguments):
    """A model in timm's layout."""
    model = random_timm(name, **arguments)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    small = {"embed_dim": 32, "depth": 2, "num_heads": 4, **arguments}
    config = {"architecture": name, "model_args": small, "pretrained_cfg": dict(model.pretrained_cfg)}
    (folder / "config.json").write_text(json.dumps(config, default=list))
    return folder


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The name of a model of each kind."""
    root = tmp_path_factory.mktemp("encoders")
    return {
        "genlip": str(saved_genlip(root / "genlip")),
        "timm": f"timm:{saved_timm(root / 'timm', img_size=64)}",
        "timm native": f"timm:{saved_timm(root / 'naflex', 'naflexvit_base_patch16_siglip')}",
        "transformers": f"transformers:{saved_tower('siglip', root / 'siglip')}",
        "transformers native": f"transformers:{saved_tower('siglip2', root / 'siglip2')}",
    }


@pytest.fixture(params=KINDS)
def name(request, names):
    return names[request.param]


def features(encoder):
    return torch.cat([one.patches for one in encoder.encode(IMAGES)])


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_opens_what_its_librarys_own_function_opens(kind, names):
    name = names[kind]
    function = {"genlip": Speaker.load, "timm": encoders.timm, "transformers": encoders.transformers}[kind.split(" ")[0]]
    expected, found = function(name.partition(":")[2] or name), open_encoder(name)
    assert (type(found), found.name, found.image_settings()) == (type(expected), name, expected.image_settings())
    assert torch.equal(features(found), features(expected))
    assert found.fingerprint() == expected.fingerprint()


def test_options_reach_the_library(names, tmp_path):
    save_file(library.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    how = {"squash": True, "interpolate_positions": True, "dtype": torch.float64}
    file = str(tmp_path / "w.safetensors")
    found = open_encoder("timm:test_vit.r160_in1k", checkpoint=file, images=ImageConfig(size=96, max_pixels=9999), **how)
    expected = encoders.timm("test_vit.r160_in1k", checkpoint=file, size=96, **how)
    assert found.name == expected.name == f"timm:test_vit.r160_in1k@{file}+squash"
    assert (found.dtype, found.max_pixels, expected.max_pixels) == (torch.float64, 9999, 100_000_000)
    assert found.fingerprint() == expected.fingerprint()


def test_images_say_how_a_genlip_reads_them(names):
    assert open_encoder(names["genlip"]).images == OWN
    fixed = ImageConfig(size=24)
    for weights in ("stored", "random"):
        encoder = open_encoder(names["genlip"], images=fixed, weights=weights)
        assert encoder.images == fixed
        assert encoder.prepare(IMAGES[1]).grid == (3, 3)
        with pytest.raises(ValueError, match=r"images\.size 20 is no multiple of the patch size 8 of (random:)?/"):
            open_encoder(names["genlip"], images=ImageConfig(size=20), weights=weights)


@pytest.mark.parametrize("kind", ["timm native", "transformers native"])
def test_images_limit_the_patches_of_native_towers(kind, names):
    encoder = open_encoder(names[kind], images=ImageConfig(resize="native", min_patches=4, max_patches=6))
    assert encoder.image_settings() == {"resize": "native", "patches": [1, 6]}
    assert max(np.prod(encoder.prepare(image).grid) for image in IMAGES) <= 6
    message = r"reads native images: give max_patches instead of size \(in a recipe, images\.resize native\)"
    with pytest.raises(ValueError, match=message):
        open_encoder(names[kind], images=ImageConfig(size=64))


@pytest.mark.parametrize("kind", ["timm", "transformers"])
def test_images_of_a_fixed_tower_have_the_size_of_its_positions(kind, names):
    assert open_encoder(names[kind], images=ImageConfig(size=64)).image_settings() == {"resize": "fixed", "size": 64}
    with pytest.raises(ValueError, match="learned positions for images of 64 pixels, and the size is 96: give size=64"):
        open_encoder(names[kind], images=ImageConfig(size=96))
    message = r"reads images of a fixed size: give size instead of max_patches \(in a recipe, images\.resize fixed\)"
    with pytest.raises(ValueError, match=message):
        open_encoder(names[kind], images=ImageConfig(resize="native"))


def test_random_keeps_all_but_the_weights(name):
    stored = open_encoder(name)
    torch.manual_seed(5)
    one, two = open_encoder(f"random:{name}"), open_encoder(f"random:{name}")
    torch.manual_seed(5)
    again = open_encoder(name, weights="random")
    assert [encoder.name for encoder in (one, two, again)] == [f"random:{name}"] * 3
    assert same_weights(one, again)
    assert not same_weights(one, two)
    assert not same_weights(one, stored)
    assert one.fingerprint().settings == stored.fingerprint().settings
    shapes = {key: value.shape for key, value in stored.model.state_dict().items()}
    assert {key: value.shape for key, value in one.model.state_dict().items()} == shapes
    assert not one.model.training
    for image in IMAGES:
        np.testing.assert_array_equal(one.prepare(image).patches, stored.prepare(image).patches)


def test_new_weights_need_no_file_of_weights(name, tmp_path):
    library_name, colon, folder = name.rpartition(":")
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/model.safetensors").unlink()
    copied = f"{library_name}{colon}{tmp_path / 'copy'}"
    torch.manual_seed(5)
    expected = open_encoder(f"random:{name}")
    torch.manual_seed(5)
    assert same_weights(open_encoder(f"random:{copied}"), expected)
    with pytest.raises(CheckpointError):
        open_encoder(copied)


@pytest.mark.parametrize("by_context", [True, False])
def test_on_the_meta_device_nothing_is_allocated_and_images_are_prepared(by_context, name):
    if by_context:
        with torch.device("meta"):
            encoder = open_encoder(name, weights="random", dtype=torch.bfloat16)
    else:
        encoder = open_encoder(name, weights="random", device="meta", dtype=torch.bfloat16)
    assert all(tensor.is_meta for tensor in encoder.model.state_dict().values())
    assert (encoder.device.type, encoder.dtype) == ("meta", torch.bfloat16)
    stored = open_encoder(name)
    assert sum(p.numel() for p in encoder.model.parameters()) == sum(p.numel() for p in stored.model.parameters())
    sent = pickle.dumps(encoder)
    assert len(sent) < 100_000
    for one in (encoder, pickle.loads(sent)):
        for image in IMAGES:
            found, expected = one.prepare(image), stored.prepare(image)
            np.testing.assert_array_equal(found.patches, expected.patches)
            assert (type(found), found.grid) == (type(expected), expected.grid)


def test_stored_weights_are_refused_on_the_meta_device(name):
    with torch.device("meta"), pytest.raises(ValueError, match='cannot be read on the device "meta": give weights="random"'):
        open_encoder(name)
    with pytest.raises(ValueError, match='cannot be read on the device "meta"'):
        open_encoder(name, device="meta")


def test_a_model_of_timm_by_name_needs_no_network_for_new_weights(monkeypatch):
    monkeypatch.setattr("genlip.encoders.timm_encoder.fetch", None)
    encoder = open_encoder("random:timm:vit_base_patch16_siglip_224", device="meta")
    assert encoder.image_settings() == {"resize": "fixed", "size": 224}
    assert encoder.name == "random:timm:vit_base_patch16_siglip_224"
    made = library.create_model("vit_base_patch16_siglip_224", num_classes=0)
    assert sum(p.numel() for p in encoder.model.parameters()) == sum(p.numel() for p in made.parameters())


def test_a_preset_is_a_genlip_of_new_weights():
    with torch.device("meta"):
        encoder = open_encoder("random:l16")
    assert (encoder.name, encoder.width, encoder.layers, encoder.images) == ("random:l16", 1024, 24, ImageConfig())
    assert sum(p.numel() for p in encoder.model.parameters()) == parameters(encoder.model.config).total
    tiny = open_encoder("tiny", weights="random", images=ImageConfig(size=32))
    assert torch.isfinite(features(tiny)).all()


@pytest.mark.parametrize(("recipe", "spelled"), [("stage2_so16", "{}/model"), ("quickstart", "./{}/model/")])
def test_the_model_of_a_recipe_is_known_before_it_is_trained(recipe, spelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = load_recipe(recipe)
    name = spelled.format(run.out)
    encoder = open_encoder(f"random:{name}", device="meta")
    assert (encoder.model.config, encoder.images, encoder.name) == (run.model, run.images, f"random:{name}")
    with pytest.raises(CheckpointError, match="no such folder"):
        open_encoder(name)


def test_a_folder_that_is_there_is_read_and_not_its_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved_genlip(tmp_path / "runs/quickstart/model")
    assert open_encoder("random:runs/quickstart/model").images == OWN
    (tmp_path / "runs/quickstart/model/config.json").unlink()
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        open_encoder("random:runs/quickstart/model")


def test_of_a_repository_only_the_settings_are_fetched_for_new_weights(tmp_path, monkeypatch):
    with running_hub(tmp_path / "hub") as hub:
        hub_at(hub.url, tmp_path / "home", monkeypatch)
        saved_genlip(hub.branch("owner/genlip", "v2"))
        saved_tower("siglip", hub.branch("owner/tower", "v2"))
        speaker = open_encoder("random:owner/genlip", revision="v2")
        tower = open_encoder("random:transformers:owner/tower", revision="v2")
        assert "model.safetensors" not in hub.fetched()
        assert (speaker.images, speaker.name) == (OWN, "random:owner/genlip")
        assert (tower.width, tower.name) == (32, "random:transformers:owner/tower")
        assert open_encoder("owner/genlip", revision="v2").images == OWN


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:test_vit", {"revision": "v2"}, "revision v2: timm:test_vit takes none"),
        ("transformers:x", {"checkpoint": "a"}, r"checkpoint a: transformers:x takes none; a timm:NAME\.TAG model with"),
        ("random:timm:test_vit", {"checkpoint": "a"}, "checkpoint a: random:timm:test_vit takes none"),
        (
            "random:l16",
            {"squash": True},
            "squash: only a timm: or transformers: model takes it, and random:l16 is one of gen",
        ),
        ("l16", {"interpolate_positions": True}, "interpolate_positions: only a timm: or transformers: model takes it"),
        ("random:m16", {}, "m16: no such folder; .*; for random weights also a preset: tiny, base, l16, so16, g16"),
        ("l16", {}, "l16: no such folder"),
        ("random:timm:nonsense", {}, "nonsense: timm .* has no such model"),
    ],
)
def test_what_cannot_be_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        open_encoder(name, **options)


@pytest.mark.parametrize("before", ["", "random:"])
def test_folders_of_other_libraries_are_named_with_their_spelling(before, names):
    folder = names["transformers"].partition(":")[2]
    with pytest.raises(ValueError, match="no GenLIP: write transformers:"):
        open_encoder(f"{before}{folder}")


def test_a_model_without_a_tokenizer_is_an_encoder(names, tmp_path):
    folder = shutil.copytree(names["genlip"], tmp_path / "copy")
    (folder / "tokenizer.json").unlink()
    encoder = open_encoder(str(folder))
    assert not encoder.speaks
    assert torch.equal(features(encoder), features(open_encoder(names["genlip"])))
    assert dataclasses.asdict(encoder.images) == dataclasses.asdict(OWN)
