"""Checkpoints: lossless in the published layout, and never loaded in part."""

import json

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

import genlip
from genlip.model.checkpoint import CheckpointError, load, save
from genlip.model.config import GenLIPConfig

from .helpers import RECORDED, VARIANTS, recording, small_model, write_recorded


@pytest.mark.parametrize("variant", VARIANTS)
def test_saving_and_loading_gives_the_same_model(variant, tmp_path):
    model = small_model(**VARIANTS[variant])
    again = load(save(model, tmp_path))
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert not again.training


@pytest.mark.parametrize("name", RECORDED)
def test_a_published_folder_survives_the_round_trip(name, tmp_path):
    published = write_recorded(name, tmp_path)
    out = save(load(published), tmp_path / "again")
    before, after = (load_file(folder / "model.safetensors") for folder in (published, out))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    written = json.loads((out / "config.json").read_text())
    assert {key: written[key] for key in recording(name).config} == recording(name).config


def test_weights_may_lie_in_several_indexed_files(tmp_path):
    model = small_model()
    save(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model.safetensors").unlink()
    assert all(torch.equal(value, weights[name]) for name, value in load(tmp_path).state_dict().items())


def test_dtype_is_kept_or_converted(tmp_path):
    save(small_model().bfloat16(), tmp_path)
    assert load(tmp_path).lm_head.weight.dtype == torch.bfloat16
    assert load(tmp_path, dtype=torch.float32).lm_head.weight.dtype == torch.float32


def changed(folder, change):
    """Rewrite a checkpoint's weights."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_every_parameter_that_does_not_fit_is_named_with_both_shapes(tmp_path):
    save(small_model(), tmp_path)

    def spoil(weights):
        weights["strange.weight"] = torch.ones(3, 2)
        del weights["ln_post.bias"]
        weights["lm_head.weight"] = torch.ones(4, 24, dtype=torch.float64)

    changed(tmp_path, spoil)
    with pytest.raises(CheckpointError) as error:
        load(tmp_path)
    assert "ln_post.bias: missing, needs [24]" in str(error.value)
    assert "strange.weight: not a parameter of this model, has [3, 2]" in str(error.value)
    assert "lm_head.weight: has [4, 24], needs [17, 24]" in str(error.value)


def test_a_folder_that_is_no_checkpoint_says_why(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(GenLIPConfig.preset("tiny").to_dict()))
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load(tmp_path)


def test_a_path_that_is_neither_folder_nor_hub_id_is_refused(tmp_path):
    for name in (str(tmp_path / "absent"), "./absent/model", "justaname"):
        with pytest.raises(CheckpointError, match="no such folder"):
            load(name)


def test_a_hub_id_is_fetched_with_its_revision(tmp_path, monkeypatch):
    model = small_model()
    save(model, tmp_path)
    asked = {}

    def fetch(name, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert torch.equal(genlip.load("owner/model", revision="v2").lm_head.weight, model.lm_head.weight)
    assert asked["name"] == "owner/model"
    assert asked["revision"] == "v2"
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["patterns"])


def test_a_hub_that_cannot_be_reached_is_one_clear_line(monkeypatch):
    def refuse(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection\nand many more lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"owner/model: .* Hub did not give it: no connection$"):
        genlip.load("owner/model")


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    model = small_model()
    save(model, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    monkeypatch.setattr("genlip.model.checkpoint.save_file", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(small_model(), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    load(tmp_path)
