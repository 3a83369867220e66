"""Models on the Hub, against a stand-in: what is fetched, and what it says when nothing comes."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

import genlip
from genlip.cli.main import main
from genlip.model.checkpoint import CheckpointError, read_config, save

from ..export.hub_standin import TOKEN, closed_port, hub_at, hub_settings, running_hub
from .helpers import small_model


@pytest.fixture(autouse=True)
def never_again(monkeypatch):
    """The library waits before it repeats a request; no request of these tests is worth that."""

    def refuse(seconds):
        raise AssertionError(f"waited {seconds} s to ask again")

    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", refuse)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub(tmp_path / "hub") as hub:
        hub_at(hub.url, tmp_path / "home", monkeypatch)
        yield hub


@pytest.fixture
def model(hub):
    """A small model, published as owner/model with much beside it."""
    model = small_model()
    folder = save(model, hub.branch("owner/model"))
    for name in (
        "modeling_genlip.py",
        "README.md",
        "pytorch_model.bin",
        "training_args.bin",
        "onnx/config.json",
        "onnx/step.onnx",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "training").mkdir()
    (folder / "training/shard.safetensors").write_text("{}")
    return model


def equal(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def refusal(name="owner/model", **how):
    """What loading says, which must be one line."""
    with pytest.raises(CheckpointError) as error:
        genlip.load(name, **how)
    told = str(error.value)
    assert told.count("\n") == 0
    start = f"{name}: no such folder, and the Hugging Face Hub did not give it: "
    assert told.startswith(start)
    return told.removeprefix(start)


def test_settings_and_safetensors_are_fetched_and_nothing_else(hub, model):
    assert equal(model, genlip.load("owner/model"))
    assert hub.fetched() == ["config.json", "model.safetensors"]


def test_a_pickle_is_fetched_only_for_want_of_safetensors(hub, model):
    (hub.branch("owner/model") / "model.safetensors").unlink()
    torch.save(model.state_dict(), hub.branch("owner/model") / "pytorch_model.bin")
    assert equal(model, genlip.load("owner/model"))
    assert hub.fetched() == ["config.json", "pytorch_model.bin"]


def test_a_config_is_read_without_the_weights(hub, model):
    assert read_config("owner/model") == model.config
    assert hub.fetched() == ["config.json"]


def test_a_revision_is_another_model(hub, model):
    other = small_model(vocab_size=9)
    save(other, hub.branch("owner/model", "v2"))
    assert equal(other, genlip.load("owner/model", revision="v2"))
    assert equal(other, genlip.load("owner/model", revision=hub.commit("owner/model", "v2")))
    assert equal(model, genlip.load("owner/model"))


def test_a_revision_that_is_not_there_is_named(model):
    assert refusal(revision="v3") == "it has this model, but no revision 'v3' of it"
    assert refusal(revision="0" * 40) == f"it has this model, but no revision '{'0' * 40}' of it"


def test_a_model_that_is_not_there_may_be_a_private_one(hub, model, monkeypatch):
    told = (
        "it has no model of this name, or a private one that asks for a token: log in with `hf auth login` or set HF_TOKEN"
    )
    assert refusal("owner/none") == told
    hub.private.add("owner/model")
    assert refusal() == told
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert refusal() == "it has no model of this name, or a private one that your token may not read"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert equal(model, genlip.load("owner/model"))


def test_a_gated_model_says_where_to_ask(hub, model, monkeypatch):
    hub.gated.add("owner/model")
    assert (
        refusal() == f"access must be asked for at {hub.url}/owner/model; then log in with `hf auth login` or set HF_TOKEN"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert equal(model, genlip.load("owner/model"))


def test_a_name_that_no_repository_can_have_is_told(hub):
    assert "owner/a--b" in refusal("owner/a--b")
    assert not hub.requests


def test_a_hub_out_of_order_is_not_asked_again(hub, model):
    hub.failing["/api/models/owner/model"] = 503
    assert refusal() == "out of order (status 503)"
    assert len(hub.requests) == 1


@pytest.mark.parametrize("revision", [None, "v2", "0" * 40])
def test_no_connection_is_one_line_at_once(revision, tmp_path, monkeypatch):
    url = closed_port()
    hub_at(url, tmp_path, monkeypatch)
    assert refusal(revision=revision).startswith(f"no connection to {url} (")


def test_a_forbidden_network_is_told(hub, model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal() == "HF_HUB_OFFLINE is set, so it is not asked"
    assert not hub.requests


def test_without_a_connection_an_earlier_fetch_serves(hub, model, tmp_path, monkeypatch):
    genlip.load("owner/model")
    commit = hub.commit("owner/model")
    hub_at(closed_port(), tmp_path / "home", monkeypatch)
    assert equal(model, genlip.load("owner/model"))
    assert equal(model, genlip.load("owner/model", revision=commit))
    assert refusal(revision="v2").startswith("no connection to")


def test_without_a_connection_a_config_needs_no_weights(hub, model, tmp_path, monkeypatch):
    read_config("owner/model")
    hub_at(closed_port(), tmp_path / "home", monkeypatch)
    assert read_config("owner/model") == model.config
    assert refusal().startswith("no connection to")


def test_a_branch_that_was_taken_away_is_not_read_from_the_cache(hub, model):
    shutil.copytree(hub.branch("owner/model"), hub.branch("owner/model", "v2"))
    genlip.load("owner/model", revision="v2")
    shutil.rmtree(hub.branch("owner/model", "v2"))
    assert refusal(revision="v2") == "it has this model, but no revision 'v2' of it"


def test_a_folder_of_the_name_goes_first(hub, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = small_model(vocab_size=9)
    save(other, tmp_path / "owner/model")
    assert equal(other, genlip.load("owner/model"))
    assert not hub.requests


def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    hub_at(closed_port(), tmp_path, monkeypatch)
    (tmp_path / "photo.png").write_bytes(b"")
    assert main(["caption", "owner/model", str(tmp_path / "photo.png")]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("genlip: owner/model: no such folder, and the Hugging Face Hub did not give it: no connection to")


def test_a_process_of_its_own_says_nothing_more(tmp_path):
    environment = os.environ | hub_settings(closed_port(), tmp_path) | {"HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "genlip", "caption", "owner/model", sys.executable, "--revision", "0" * 40]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "no connection to http://127.0.0.1:" in done.stderr
