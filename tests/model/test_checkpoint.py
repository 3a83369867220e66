"""Checkpoints: lossless in the published layout, and never loaded in part."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from genlip.model.checkpoint import CheckpointError, check, load, save
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
        del weights["ln_post.bias"]
        weights["lm_head.weight"] = torch.ones(4, 24, dtype=torch.float64)

    changed(tmp_path, spoil)
    with pytest.raises(CheckpointError) as error:
        load(tmp_path)
    assert "ln_post.bias: missing, needs [24]" in str(error.value)
    assert "lm_head.weight: has [4, 24], needs [17, 24]" in str(error.value)


def test_what_is_no_parameter_is_left_out_and_named_once(tmp_path, caplog):
    model = small_model()
    save(model, tmp_path)
    changed(tmp_path, lambda weights: weights.update({"visual.rotary.inv_freq": torch.ones(6), "steps": torch.ones(1)}))
    loaded = load(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert loaded.state_dict().keys() == model.state_dict().keys()
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path}: not parameters of a GenLIP, left out: steps, visual.rotary.inv_freq"


def test_many_names_end_in_a_number(tmp_path, caplog):
    save(small_model(), tmp_path)
    changed(tmp_path, lambda weights: weights.update({f"more.{i:02}": torch.ones(1) for i in range(23)}))
    load(tmp_path)
    assert caplog.text.count("more.") == 20
    assert "more.19 and 3 more" in caplog.text


@pytest.mark.parametrize(
    ("trained", "told", "extra"),
    [
        ({}, {"num_hidden_layers": 1}, "visual.layers.1.mlp.fc1.weight"),
        ({}, {"use_swiglu_ffn": False}, "visual.layers.0.mlp.gate_fc.bias"),
        ({}, {"ls_init_value": 0.0}, "visual.layers.1.layer_scale2.lambda1"),
    ],
)
def test_a_config_that_forgets_parts_of_the_network_is_refused(trained, told, extra, tmp_path):
    model = small_model(**trained)
    save(model, tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | told))
    with pytest.raises(CheckpointError, match=rf"{extra}: no parameter of the model in config\.json, has \["):
        load(tmp_path)


def test_an_encoder_alone_is_told_from_a_damaged_model(tmp_path):
    save(small_model(), tmp_path)

    def strip(weights):
        for name in ("embeddings.weight", "lm_head.weight"):
            del weights[name]

    changed(tmp_path, strip)
    with pytest.raises(CheckpointError, match=r"only the encoder.*GenLIPVisionModel\.from_pretrained, in genlip's export"):
        load(tmp_path)
    changed(tmp_path, lambda weights: weights.pop("ln_post.bias"))
    with pytest.raises(CheckpointError, match=r"embeddings\.weight: missing"):
        load(tmp_path)


def test_whole_numbers_are_no_weights(tmp_path):
    save(small_model(), tmp_path)
    changed(tmp_path, lambda weights: weights.update({"ln_post.bias": torch.ones(24, dtype=torch.int8)}))
    with pytest.raises(CheckpointError, match=r"floating-point numbers, and ln_post\.bias is torch\.int8"):
        load(tmp_path)


def test_a_check_finds_what_loading_would_and_reads_no_weights(tmp_path, monkeypatch):
    model = small_model()
    save(model, tmp_path)
    monkeypatch.setattr("genlip.model.checkpoint.read_weights", None)
    assert check(tmp_path) == model.config
    changed(tmp_path, lambda weights: weights.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: missing"):
        check(tmp_path)


def test_more_layers_than_parameters_are_refused_before_they_are_built(tmp_path, monkeypatch):
    save(small_model(), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | {"num_hidden_layers": 10**9}))
    monkeypatch.setattr("genlip.model.checkpoint.GenLIP", None)
    with pytest.raises(CheckpointError, match=r"1000000000 layers in config\.json, but only \d+ parameters"):
        load(tmp_path)


@pytest.mark.parametrize("size", [2**40, 2**62, 2**63, 2**70])
@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "vocab_size", "text_embed_dim", "patch_size"])
def test_absurd_sizes_are_refused_in_a_checkpoints_words(key, size, tmp_path):
    save(small_model(), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | {key: size}))
    with pytest.raises(
        CheckpointError, match=r"sizes in config\.json cannot be built: \w|do not fit config\.json|less than 2\*\*63"
    ):
        load(tmp_path)


def test_numbers_of_another_kind_are_refused_with_the_files_name(tmp_path):
    save(small_model(), tmp_path)
    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | {"num_hidden_layers": 3.5}))
    with pytest.raises(CheckpointError) as error:
        load(tmp_path)
    assert str(error.value) == f"{tmp_path / 'config.json'}: num_hidden_layers is 3.5: it must be a whole number"


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


def test_a_run_is_no_model_and_the_one_that_it_holds_is_named(tmp_path):
    run = tmp_path / "run"
    for step in (50, 900, 1000):
        (run / f"checkpoints/step-{step:08d}").mkdir(parents=True)
        (run / f"checkpoints/step-{step:08d}/config.json").write_text("{}")
    (run / "checkpoints/step-00001000/config.json").unlink()  # cut short
    (run / "checkpoints/step-00000900-best").mkdir()
    newest = f"did you mean {run}/checkpoints/step-00000900?"
    for name, cause in {
        "": "not a checkpoint: it has no config.json",
        "checkpoints": "not a checkpoint: it has no config.json",
        "model": "no such folder",
        "checkpoints/step-00000100": "no such folder",
    }.items():
        with pytest.raises(CheckpointError, match=f"^{re.escape(f'{run / name}: {cause}; {newest}')}$"):
            load(run / name)
    (run / "model").mkdir()
    (run / "model/config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"it has no config.json; did you mean {run}/model[?]$"):
        load(run)


def test_what_the_hub_does_not_give_may_be_a_run_nearby(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run/checkpoints/step-00000007").mkdir(parents=True)
    (tmp_path / "run/checkpoints/step-00000007/config.json").write_text("{}")

    def refuse(name, revision, weights):
        raise CheckpointError(f"{name}: not given")

    monkeypatch.setattr("genlip.model.checkpoint.fetch", refuse)
    with pytest.raises(CheckpointError, match=r"^run/model: not given; did you mean run/checkpoints/step-00000007\?$"):
        load("run/model")


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    model = small_model()
    save(model, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    monkeypatch.setattr("genlip.model.weights.save_file", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(small_model(), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    load(tmp_path)
