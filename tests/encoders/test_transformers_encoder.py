"""Transformers' towers as encoders: pixels of their own processor, features of their own forward pass, nothing guessed."""

import json

import numpy as np
import pytest
import torch
import transformers as library

from genlip.encoders import TransformersEncoder, transformers
from genlip.model.checkpoint import CheckpointError

from ..export.hub_standin import hub_at, running_hub
from .towers import IMAGES, random_tower, saved_tower

PREFIX = {"siglip": 0, "siglip2": 0, "clip": 1, "dinov2": 1, "dinov2_with_registers": 4, "dinov3_vit": 5}


@pytest.fixture(params=PREFIX, scope="module")
def tower(request, tmp_path_factory):
    """A kind, its folder, and the encoder of that folder."""
    folder = saved_tower(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, folder, transformers(folder)


def test_pixels_are_those_of_the_folders_processor(tower):
    _, folder, encoder = tower
    processor = library.AutoImageProcessor.from_pretrained(folder)
    for image in IMAGES:
        found, expected = encoder.prepare(image), processor(images=[image], return_tensors="pt")
        pixels = expected["pixel_values"][0]
        if "spatial_shapes" in expected:
            assert list(found.grid) == expected["spatial_shapes"][0].tolist()
            pixels = pixels[: int(expected["pixel_attention_mask"][0].sum())]
        np.testing.assert_array_equal(found.patches, pixels.numpy())


def test_features_are_those_of_the_librarys_forward_pass_without_other_tokens(tower):
    kind, _, encoder = tower
    model, processor = random_tower(kind)
    for image, one in zip(IMAGES, encoder.encode(IMAGES, 3), strict=True):
        with torch.no_grad():
            rows = model(**processor(images=[image], return_tensors="pt")).last_hidden_state[0, PREFIX[kind] :]
        patches = one.grid[0] * one.grid[1]
        assert kind == "siglip2" or len(rows) == patches
        torch.testing.assert_close(one.patches, rows[:patches], rtol=1e-5, atol=1e-5)


def test_features_agree_in_float64(tower):
    kind, folder, _ = tower
    encoder = transformers(folder, dtype=torch.float64)
    model, processor = random_tower(kind)
    inputs = processor(images=IMAGES[:1], return_tensors="pt")
    inputs["pixel_values"] = inputs["pixel_values"].double()
    with torch.no_grad():
        rows = model.double()(**inputs).last_hidden_state[0, PREFIX[kind] :]
    (one,) = encoder.encode(IMAGES[:1])
    atol = 1e-6 if kind == "dinov3_vit" else 1e-10  # its rotary tables are float32
    torch.testing.assert_close(one.patches, rows[: len(one.patches)], rtol=1e-10, atol=atol)


def test_layers_are_before_the_last_norm(tower):
    kind, _, encoder = tower
    for (first, last), one in zip(encoder.encode_layers(IMAGES, [0, -1], 2), encoder.encode(IMAGES, 2), strict=True):
        assert first.grid == one.grid
        assert not torch.equal(first.patches, last.patches)
        torch.testing.assert_close(encoder.last_norm(last.patches), one.patches)
        assert torch.equal(last.patches, one.patches) == (kind == "clip"), "a LayerNorm follows, but for CLIP's patches"


def test_settings_and_fingerprint_can_be_stored(tower):
    kind, folder, encoder = tower
    assert encoder.name == f"transformers:{folder}"
    assert (encoder.width, encoder.heads, encoder.layers) == (32, 4, 2)
    assert encoder.whole_image == (kind in ("siglip", "siglip2", "dinov3_vit"))
    assert transformers(folder).fingerprint() == encoder.fingerprint()
    preprocessing = json.loads(json.dumps(encoder.description()))["encoder"]["preprocessing"]
    assert {"image_mean", "image_std"} <= preprocessing.keys()


@pytest.mark.parametrize(("kind", "field", "value"), [("clip", "hidden_act", "gelu"), ("siglip", "layer_norm_eps", 1e-2)])
def test_the_fingerprint_follows_what_is_computed_with_the_same_weights(kind, field, value):
    model, processor = random_tower(kind)
    other = type(model)(type(model.config)(**{**model.config.to_dict(), field: value})).eval()
    other.load_state_dict(model.state_dict())
    one, two = TransformersEncoder(model, processor), TransformersEncoder(other, processor)
    assert one.fingerprint().weights == two.fingerprint().weights
    assert not torch.allclose(one.encode(IMAGES[:1])[0].patches, two.encode(IMAGES[:1])[0].patches)
    assert one.fingerprint() != two.fingerprint()
    json.dumps(one.fingerprint())


def test_native_images_have_at_most_so_many_patches(tmp_path):
    encoder = transformers(saved_tower("siglip2", tmp_path))
    assert encoder.image_settings() == {"resize": "native", "patches": [1, 20]}
    few = encoder.resized(max_patches=6)
    grids = [few.prepare(image).grid for image in IMAGES]
    expected = random_tower("siglip2")[1](images=IMAGES, max_num_patches=6)["spatial_shapes"]
    assert grids == [tuple(one) for one in np.asarray(expected).tolist()]
    assert all(rows * columns <= 6 for rows, columns in grids)
    assert encoder.image_settings()["patches"] == [1, 20]
    with pytest.raises(ValueError, match="reads native images"):
        encoder.resized(size=64)


def test_another_size_needs_leave_where_positions_are_learned(tmp_path):
    folder = saved_tower("siglip", tmp_path / "siglip")
    with pytest.raises(ValueError, match="learned positions for images of 64 pixels, and the size is 96: give size=64"):
        transformers(folder, size=96)
    encoder = transformers(folder, size=96, interpolate_positions=True)
    model, _ = random_tower("siglip")
    pixels = torch.from_numpy(encoder.prepare(IMAGES[1]).patches)[None]
    with torch.no_grad():
        expected = model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state[0]
    torch.testing.assert_close(encoder.encode([IMAGES[1]])[0].patches, expected)
    rotary = transformers(saved_tower("dinov3_vit", tmp_path / "dinov3"))
    assert rotary.resized(size=96).encode(IMAGES[:1])[0].grid == (6, 6)


def test_squashing_keeps_the_whole_image_and_a_crop_its_proportion(tmp_path):
    folder = saved_tower("dinov2", tmp_path)
    assert transformers(folder, squash=True).preprocessing()["size"] == {"height": 56, "width": 56}
    larger = transformers(folder, size=112, interpolate_positions=True).preprocessing()
    assert (larger["size"], larger["crop_size"]) == ({"shortest_edge": 128}, {"height": 112, "width": 112})


def clip(**settings):
    return TransformersEncoder(
        random_tower("clip")[0], library.CLIPImageProcessor(**settings["processor"]), **settings["how"]
    )


def test_a_crop_that_is_not_square_is_replaced_whichever_side_is_the_size():
    for crop in ({"height": 64, "width": 96}, {"height": 96, "width": 64}):
        processor = {"size": {"shortest_edge": 80}, "crop_size": crop}
        encoder = clip(processor=processor, how={"size": 64})
        assert encoder.preprocessing()["crop_size"] == {"height": 64, "width": 64}
        assert encoder.preprocessing()["size"] == {"shortest_edge": 80}
        assert {encoder.prepare(image).grid for image in IMAGES} == {(4, 4)}


def test_a_processor_without_crop_needs_squash_where_images_keep_their_shape():
    processor = {"size": {"shortest_edge": 64}, "do_center_crop": False}
    for how in ({}, {"size": 64}):
        with pytest.raises(ValueError, match=r"no square images of one size \(shortest_edge 64\): give squash=True"):
            clip(processor=processor, how=how)
    for how in ({"squash": True}, {"squash": True, "size": 64}):
        encoder = clip(processor=processor, how=how)
        assert encoder.preprocessing()["size"] == {"height": 64, "width": 64}
        assert {one.grid for one in encoder.encode(IMAGES)} == {(4, 4)}
    oblong = {"size": {"height": 64, "width": 96}, "do_center_crop": False}
    with pytest.raises(ValueError, match=r"\(height 64, width 96\): give size=…"):
        clip(processor=oblong, how={"squash": True})


def test_a_processor_that_does_not_resize_is_refused_unless_it_crops():
    processor = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}, "do_resize": False}
    assert {one.grid for one in clip(processor=processor, how={}).encode(IMAGES)} == {(4, 4)}
    for more, how in (({}, {"squash": True}), ({"do_center_crop": False}, {})):
        with pytest.raises(ValueError, match="has do_resize false, so its images keep their sizes"):
            clip(processor={**processor, **more}, how=how)
    with pytest.raises(ValueError, match=r"reads native images, which are never cropped: leave squash .--squash. out"):
        TransformersEncoder(*random_tower("siglip2"), squash=True)


def test_squash_is_in_the_name():
    assert TransformersEncoder(*random_tower("clip"), "transformers:clip", squash=True).name == "transformers:clip+squash"


def test_a_model_of_images_and_texts_in_memory_is_refused_with_the_way_to_its_vision_part():
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = library.CLIPConfig(text_config={**small, "vocab_size": 99}, vision_config={**small, "image_size": 64})
    with pytest.raises(ValueError, match=r"clip is a CLIPModel, and a CLIPVisionModel is needed: load its vision part by"):
        TransformersEncoder(library.CLIPModel(config), random_tower("clip")[1], "clip")


def test_code_of_a_repository_is_never_run(tmp_path, monkeypatch):
    folder = saved_tower("siglip", tmp_path)
    file = folder / "preprocessor_config.json"
    stored = json.loads(file.read_text())
    stored |= {"image_processor_type": "Mine", "auto_map": {"AutoImageProcessor": "mine.Mine"}}
    file.write_text(json.dumps(stored))
    (folder / "mine.py").write_text("raise SystemExit('run')")
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    with pytest.raises(ValueError, match=r"Transformers has no image processor for .*, and code of a repository is not run"):
        transformers(folder)
    assert not asked


def test_the_vision_part_of_a_model_of_images_and_texts_is_read(tmp_path):
    vision = library.SiglipVisionConfig(
        image_size=64, patch_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}
    whole = library.SiglipModel(library.SiglipConfig(text_config=text, vision_config=vision.to_dict())).eval()
    whole.save_pretrained(tmp_path)
    random_tower("siglip")[1].save_pretrained(tmp_path)
    encoder = transformers(tmp_path)
    pixels = torch.from_numpy(encoder.prepare(IMAGES[0]).patches)[None]
    with torch.no_grad():
        expected = whole.vision_model(pixel_values=pixels).last_hidden_state[0]
    torch.testing.assert_close(encoder.encode(IMAGES[:1])[0].patches, expected)


def test_missing_and_unsafe_files_are_refused(tmp_path):
    folder = saved_tower("siglip", tmp_path / "a")
    processor = folder / "preprocessor_config.json"
    stored = json.loads(processor.read_text())
    processor.write_text(json.dumps({name: value for name, value in stored.items() if name != "image_mean"}))
    with pytest.raises(ValueError, match=r"preprocessor_config\.json lacks image_mean"):
        transformers(folder)
    processor.unlink()
    with pytest.raises(ValueError, match=r"no preprocessor_config\.json, so size, mean and standard deviation"):
        transformers(folder)
    processor.write_text(json.dumps(stored))
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "kept")
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no \.safetensors file; other formats are not read"):
        transformers(folder)
    from safetensors.torch import load_file, save_file

    kept = load_file(tmp_path / "kept")
    name = next(name for name in kept if "q_proj.weight" in name)
    save_file({key: value for key, value in kept.items() if key != name}, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 parameters of SiglipVisionModel are missing: .*q_proj\.weight"):
        transformers(folder)


def test_a_repository_is_read_like_a_folder_and_without_pickles(tmp_path, monkeypatch):
    with running_hub(tmp_path / "hub") as hub:
        hub_at(hub.url, tmp_path / "home", monkeypatch)
        folder = saved_tower("siglip", hub.branch("owner/tower", "v2"))
        torch.save({}, folder / "pytorch_model.bin")
        encoder = transformers("owner/tower", revision="v2")
        assert hub.fetched() == ["config.json", "model.safetensors", "preprocessor_config.json"]
        assert encoder.name == "transformers:owner/tower"
        assert encoder.fingerprint() == transformers(folder).fingerprint()
        (folder / "model.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"owner/tower: no \.safetensors file; other formats are not read"):
            transformers("owner/tower", revision="v2")
        assert "pytorch_model.bin" not in hub.fetched()
        with pytest.raises(CheckpointError, match="owner/none: no such folder, and the Hugging Face Hub did not give it"):
            transformers("owner/none")


def test_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"config\.json has model_type 'bert': need one of siglip, "):
        transformers(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no config\.json of a model of Transformers"):
        transformers(tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"nowhere/there: no such folder, and the Hugging Face Hub did not give it"):
        transformers(tmp_path / "nowhere/there")
    model, processor = random_tower("siglip")
    with pytest.raises(ValueError, match="reads images of a fixed size: give size instead of max_patches"):
        TransformersEncoder(model, processor, max_patches=9)
