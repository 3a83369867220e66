"""Weight files: one or several, safetensors before pickles, and pickles that want to run something are refused."""

import json
import os
import re
import zipfile
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

from genlip.model.checkpoint import CheckpointError, load, read_config, save

from ..stopping import Stop, stopped_at
from .helpers import small_model

SHARDS = {"safetensors": "model-0000{}-of-00002.safetensors", "bin": "pytorch_model-0000{}-of-00002.bin"}
INDEX = {"safetensors": "model.safetensors.index.json", "bin": "pytorch_model.bin.index.json"}


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def folder(model, tmp_path):
    """A checkpoint without its weights."""
    save(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    return tmp_path


def write(tensors, file):
    save_file(tensors, file) if file.suffix == ".safetensors" else torch.save(tensors, file)


def write_shards(model, folder, kind):
    """The weights in two files, and the index of them."""
    weights = model.state_dict()
    names = sorted(weights)
    parts = {SHARDS[kind].format(1): names[:5], SHARDS[kind].format(2): names[5:]}
    for file, part in parts.items():
        write({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / INDEX[kind]).write_text(json.dumps(index))


def same(model, folder):
    loaded = load(folder).state_dict()
    return all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", SHARDS)
def test_weights_may_lie_in_several_indexed_files(kind, model, folder):
    write_shards(model, folder, kind)
    assert same(model, folder)


def test_links_of_the_hubs_cache_are_followed(model, folder):
    write_shards(model, folder, "safetensors")
    blobs = folder.parent / f"{folder.name}-blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.glob("*.safetensors"))):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    assert same(model, folder)


@pytest.mark.parametrize("kind", SHARDS)
def test_files_of_an_index_that_are_not_there_are_named(kind, model, folder):
    write_shards(model, folder, kind)
    missing = SHARDS[kind].format(2)
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=rf"{INDEX[kind]}: names files that are not there: {missing}; fetch or copy"):
        load(folder)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "..\\x.safetensors", "C:\\x.safetensors", "x.bin", ""],
)
def test_an_index_names_safetensors_of_its_own_folder_or_is_refused(name, model, folder):
    write(model.state_dict(), folder.parent / "x.safetensors")
    (folder / INDEX["safetensors"]).write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(CheckpointError, match=rf"names {re.escape(name)}, and must name \.safetensors files inside its own"):
        load(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": {}}}']
)
def test_a_damaged_index_is_one(content, folder):
    (folder / INDEX["safetensors"]).write_text(content)
    with pytest.raises(CheckpointError, match="not an index of weights"):
        load(folder)


def test_an_empty_index_is_refused(folder):
    (folder / INDEX["safetensors"]).write_text('{"weight_map": {}}')
    with pytest.raises(CheckpointError, match=r"names nothing, and must name \.safetensors files"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pickle_of_tensors_is_read(dtype, model, folder):
    torch.save(model.to(dtype).state_dict(), folder / "pytorch_model.bin")
    assert same(model, folder)
    assert load(folder).lm_head.weight.dtype == dtype
    assert load(folder, dtype=torch.float64).lm_head.weight.dtype == torch.float64


def test_weights_of_a_pickle_are_their_own(model, folder):
    """Tensors that share memory in the file do not move together, and the file may change under a loaded model."""
    shared = torch.rand(17, 24, dtype=torch.float64)
    weights = dict(model.state_dict()) | {"lm_head.weight": shared, "embeddings.weight": shared}
    torch.save(weights, folder / "pytorch_model.bin")
    loaded = load(folder)
    with torch.no_grad():
        loaded.lm_head.weight.zero_()
    torch.save({name: torch.zeros_like(value) for name, value in weights.items()}, folder / "pytorch_model.bin")
    assert torch.equal(loaded.embeddings.weight, shared)
    assert loaded.lm_head.weight.is_contiguous()


def test_safetensors_go_before_pickles(model, folder):
    write(model.state_dict(), folder / "model.safetensors")
    torch.save({"lm_head.weight": torch.zeros(17, 24)}, folder / "pytorch_model.bin")
    assert same(model, folder)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(
        CheckpointError, match=r"neither model\.safetensors nor .*\(pytorch_model\.bin would do in a folder with"
    ):
        load(folder)


class Payload:
    """What a pickle needs to run a command when it is opened."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("hidden", ["beside", "as a weight"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_a_command_is_refused_and_does_not_run_it(hidden, zipped, model, folder):
    made = folder / "made"
    payload = Payload(f"touch {made}")
    weights = dict(model.state_dict()) | {"note" if hidden == "beside" else "lm_head.weight": payload}
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as error:
        load(folder)
    told = str(error.value)
    assert told.count("\n") == 0
    assert str(folder / "pytorch_model.bin") in told
    if zipped:
        assert f"refused: it asks to run {os.system.__module__}.system" in told
        assert "as safetensors" in told
    assert "weights_only" not in told
    assert not made.exists()


def test_the_payload_of_this_test_would_work(folder):
    """Else the test above would prove nothing."""
    made = folder / "made"
    torch.save({"note": Payload(f"touch {made}")}, folder / "pytorch_model.bin")
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert made.exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": {"b": torch.ones(2)}}, {"a": 3}, torch.ones(2)])
def test_a_pickle_of_anything_but_tensors_is_refused(content, folder):
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin: holds \w+, need a dictionary of tensors and nothing else"
    ):
        load(folder)


def test_a_pickle_of_a_whole_module_is_refused_without_advice_to_trust_it(folder):
    torch.save(torch.nn.Linear(2, 2), folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"refused: it asks to run torch\.nn\.modules\.linear\.Linear; weights need"
    ) as told:
        load(folder)
    assert "weights_only" not in str(told.value)


@pytest.mark.parametrize("kept", [0, 10, 100, -10])
def test_a_pickle_that_is_cut_short_is_a_clear_error(kept, model, folder):
    file = folder / "pytorch_model.bin"
    torch.save(model.state_dict(), file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: cannot be read as PyTorch weights: \S"):
        load(folder)


# -- what weights of others may not do


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named(name, folder):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(
        CheckpointError, match=rf"{name}: a Git LFS pointer, not the file itself \(fetch it with: git lfs pull\)"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("content", "what"), [(b"<html>" * 100, "an HTML page"), (b"", "an empty file"), (b"PK\3\4" + bytes(99), "a PyTorch")]
)
def test_another_file_under_the_name_of_weights_is_named(content, what, folder):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: cannot be read as safetensors: .*; it is {what}"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_are_named(value, dtype, model, folder):
    weights = dict(model.to(dtype).state_dict())
    weights["ln_post.bias"] = weights["ln_post.bias"].clone()
    weights["ln_post.bias"][3] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"weights hold NaN or infinity: ln_post\.bias; the model is damaged"):
        load(folder)


def test_few_numbers_that_stand_for_many_are_refused(model, folder):
    """Strides of 0 repeat one number as often as the shape says; a copy of it would fill any memory."""
    weights = dict(model.state_dict()) | {"embeddings.weight": torch.zeros(1).expand(2**40, 2**20)}
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"embeddings\.weight of shape \[\d+, \d+\] has more numbers than the file holds"
    ):
        load(folder)


def test_a_compressed_pickle_is_refused(model, folder):
    torch.save(model.state_dict(), folder / "plain.bin")
    with (
        zipfile.ZipFile(folder / "plain.bin") as plain,
        zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    with pytest.raises(CheckpointError, match=r"refused: plain/data\.pkl is compressed, and PyTorch compresses no weights"):
        load(folder)


def test_a_header_that_fills_memory_is_refused(folder):
    length = 2**25 + 8
    with (folder / "model.safetensors").open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(length + 8)
    with pytest.raises(CheckpointError, match=r"its header has 33,554,440 bytes; the limit is 33,554,432"):
        load(folder)


def test_a_config_of_far_more_parameters_is_refused_before_the_model_is_built(model, folder, monkeypatch):
    save_file(model.state_dict(), folder / "model.safetensors")
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(keys | {"hidden_size": 2400}))
    monkeypatch.setattr("genlip.model.checkpoint.GenLIP", None)
    with pytest.raises(
        CheckpointError, match=r"cannot be built: it has at least 46,\d{3},\d{3} parameters, and the weights hold"
    ):
        load(folder)


def test_layers_are_bounded_where_no_weights_tell(folder):
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(keys | {"num_hidden_layers": 10**6}))
    with pytest.raises(CheckpointError, match=r"num_hidden_layers is 1000000: it must be at most 1024"):
        read_config(folder)


@pytest.mark.parametrize("at", range(6))
def test_a_save_that_stops_at_any_write_leaves_old_new_or_nothing_to_load(at, tmp_path, monkeypatch):
    """The new config has the shapes of the old one, and other angles: mixed up, the model would be a third one."""
    old, new = small_model(), small_model(rope_theta=77.0)
    save(old, tmp_path)
    with torch.no_grad():
        new.ln_post.bias.add_(1)
    stopped_at(at, monkeypatch)
    with suppress(Stop):
        save(new, tmp_path)
    monkeypatch.undo()
    try:
        found = load(tmp_path)
    except CheckpointError as error:
        assert "has no config.json" in str(error)  # noqa: PT017
        return
    whole = new if found.config == new.config else old
    assert found.config == whole.config
    assert torch.equal(found.ln_post.bias, whole.ln_post.bias)
