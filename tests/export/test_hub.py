"""Publishing, against a stand-in for the Hub: what arrives, where, and what is refused."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

import genlip
from genlip.export.hub import PushError, push_model, upload_plan
from genlip.model.checkpoint import CheckpointError
from genlip.train.loop import train_model

from ..train.helpers import small_run
from .helpers import model_folder
from .hub_standin import TOKEN, closed_port, hub_at, running_hub

SENT = ["README.md", "config.json", "model.safetensors", "preprocessing.json", "tokenizer.json"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub(tmp_path / "hub") as hub:
        hub_at(hub.url, tmp_path / "home", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


SMALL = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def folder(tmp_path):
    return model_folder(tmp_path / "model", **SMALL)


def arrived(hub, name="owner/tiny", revision="main"):
    return [path for path in hub.files(name, revision) if path != ".gitattributes"]


def equal(folder, other):
    weights, others = genlip.load(folder).state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in weights.items())


def refusal(*arguments, **how):
    with pytest.raises(PushError) as error:
        push_model(*arguments, **how)
    assert str(error.value).count("\n") == 0
    return str(error.value)


def test_what_is_pushed_comes_back(hub, folder):
    assert push_model(folder, "owner/tiny") == f"{hub.url}/owner/tiny"
    assert arrived(hub) == SENT
    assert all(data == (folder / path).read_bytes() for path, data in hub.files("owner/tiny").items() if path in SENT)
    assert equal(folder, genlip.load("owner/tiny"))
    assert genlip.Speaker.load("owner/tiny").captions.config.prompt == "describe the image"


def test_a_revision_is_a_branch_beside_the_others(hub, folder, tmp_path):
    push_model(folder, "owner/tiny")
    other = model_folder(tmp_path / "other", text_embed_dim=12, **SMALL)
    assert push_model(other, "owner/tiny", revision="v2") == f"{hub.url}/owner/tiny/tree/v2"
    assert push_model(other, "owner/tiny", revision="v2") == f"{hub.url}/owner/tiny/tree/v2"
    assert equal(other, genlip.load("owner/tiny", revision="v2"))
    assert equal(folder, genlip.load("owner/tiny"))


def test_a_pull_request_leaves_main_alone(hub, folder):
    hub.branch("owner/tiny").mkdir(parents=True)
    assert push_model(folder, "owner/tiny", create_pr=True) == f"{hub.url}/owner/tiny/discussions/1"
    assert arrived(hub) == []
    assert arrived(hub, revision="refs/pr/1") == SENT
    (folder / "LICENSE").write_text("free\n")
    assert push_model(folder, "owner/tiny", revision="refs/pr/1") == f"{hub.url}/owner/tiny/tree/refs/pr/1"
    assert arrived(hub, revision="refs/pr/1") == sorted([*SENT, "LICENSE"])
    assert "leave out revision (now 'v2')" in refusal(folder, "owner/tiny", create_pr=True, revision="v2")


def test_private_is_private_or_nothing_is_sent(hub, folder):
    push_model(folder, "owner/tiny", private=True)
    push_model(folder, "owner/tiny", private=True)
    assert hub.private == {"owner/tiny"}
    push_model(folder, "owner/open")
    hub.requests.clear()
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert "exists and is public: make it private" in refusal(folder, "owner/open", private=True)
    assert not any("commit" in request for request in hub.requests)


def test_weights_in_several_files_are_sent_with_their_index(hub, folder):
    weights = genlip.load(folder).state_dict()
    (folder / "model.safetensors").unlink()
    parts = {"model-00001-of-00002.safetensors": list(weights)[:9], "model-00002-of-00002.safetensors": list(weights)[9:]}
    for file, names in parts.items():
        save_file({name: weights[name] for name in names}, folder / file)
    index = {"weight_map": {name: file for file, names in parts.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    push_model(folder, "owner/tiny")
    assert {*parts, "model.safetensors.index.json"} < set(arrived(hub))
    assert equal(folder, genlip.load("owner/tiny"))


def test_only_the_models_own_files_are_sent(hub, folder):
    strangers = ["optimizer.safetensors", "model.safetensors.partial", "state.json", "run.yaml", "notes.txt", "secret.env",
                 "modeling_genlip.py", "pytorch_model.bin", "training/shard-0.safetensors", "onnx/config.json"]  # fmt: skip
    for name in strangers:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    more = ["generation_config.json", "processor_config.json", "tokenizer_config.json", "LICENSE", "chat_template.jinja"]
    for name in more:
        (folder / name).write_text("{}")
    push_model(folder, "owner/tiny")
    assert arrived(hub) == sorted([*SENT, *more])


def test_code_is_sent_where_the_config_names_it(hub, folder, tmp_path):
    from genlip.export.transformers import export_transformers

    out = export_transformers(folder, tmp_path / "hf", remote_code=True)
    push_model(out, "owner/tiny")
    assert {path for path in arrived(hub) if path.endswith(".py")} == {path.name for path in out.glob("*.py")}
    assert "trust_remote_code=True" in hub.files("owner/tiny")["README.md"].decode()
    genlip.load("owner/tiny")
    assert not any(path.endswith(".py") for path in hub.fetched())


def test_a_run_is_pushed_as_its_model_with_what_its_log_says(hub, tmp_path):
    train_model(small_run(tmp_path / "run", steps=2))
    push_model(tmp_path / "run", "owner/run")
    assert arrived(hub, "owner/run") == SENT
    assert equal(tmp_path / "run/model", genlip.load("owner/run"))
    card = hub.files("owner/run")["README.md"].decode()
    assert re.search(r"\| training loss \| \d\.\d{3} nats per token, over the last updates, at step 2 \|", card)
    assert upload_plan(tmp_path / "run/model", "owner/run").card == card


def test_the_card_stays_as_its_owner_wrote_it(hub, folder, caplog):
    (folder / "README.md").write_text("mine\n")
    push_model(folder, "owner/tiny")
    assert hub.files("owner/tiny")["README.md"] == b"mine\n"
    assert not caplog.records
    push_model(folder, "owner/tiny", data="Little scenes.")
    assert "README.md exists and is sent unchanged, without the data and licence given now" in caplog.text
    push_model(folder, "owner/tiny", data="Little scenes.", license="mit", overwrite_card=True)
    card = hub.files("owner/tiny")["README.md"].decode()
    assert card == (folder / "README.md").read_text()
    assert "Little scenes." in card
    assert "\nlicense: mit\n" in card


@pytest.mark.parametrize("before", [None, "mine\n"])
def test_a_card_that_was_not_sent_does_not_stay(before, hub, folder):
    if before:
        (folder / "README.md").write_text(before)
    told = refusal(folder, "owner/tiny", license="made-up", overwrite_card=True)
    assert told.endswith('Invalid metadata in README.md. - "license" must be one of [apache-2.0, mit]')
    assert ((folder / "README.md").read_text() if before else None) == before
    assert (folder / "README.md").is_file() == bool(before)


def test_a_folder_that_is_not_whole_is_refused_before_anything_is_asked(hub, folder, tmp_path):
    for name in ("tiny", "a/b/c", "owner/", "owner/ti ny", "https://huggingface.co/owner/tiny"):
        assert "need the name of a repository as owner/name" in refusal(folder, name)
    assert "no such folder" in refusal(tmp_path / "absent", "owner/tiny")
    (folder / "model.safetensors").rename(folder / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors"):
        push_model(folder, "owner/tiny")
    torch.save(torch.load.__doc__, folder / "pytorch_model.bin")
    (folder / "x.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds str, need a dictionary of tensors"):
        push_model(folder, "owner/tiny")
    assert not hub.requests


def test_pickle_files_are_not_published(hub, folder):
    torch.save(genlip.load(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    told = refusal(folder, "owner/tiny")
    assert (
        f"its weights are pickle files, which should not be published: write safetensors with `genlip export {folder}"
        in told
    )
    assert not hub.requests


def test_without_a_token_nothing_is_asked(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a token for uploads: log in with `hf auth login` or set HF_TOKEN" in refusal(folder, "owner/tiny")
    assert not hub.requests


def test_a_token_that_is_not_enough_is_told(hub, folder, monkeypatch):
    told = refusal(folder, "stranger/tiny")
    assert (
        "You don't have the rights to create a model under the namespace 'stranger' (status 403); your token needs" in told
    )
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    told = refusal(folder, "owner/tiny")
    assert told.endswith("Invalid username or password. (status 401); log in with `hf auth login` or set HF_TOKEN")


def test_no_connection_is_one_line_at_once(folder, tmp_path, monkeypatch):
    def refuse(seconds):
        raise AssertionError(f"waited {seconds} s to ask again")

    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", refuse)
    url = closed_port()
    hub_at(url, tmp_path / "home", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert f"owner/tiny: the Hugging Face Hub did not accept it: no connection to {url} (" in refusal(folder, "owner/tiny")
    assert not (folder / "README.md").exists()


def test_a_commit_that_fails_is_told(hub, folder):
    hub.failing["/api/models/owner/tiny/commit/main"] = 500
    assert refusal(folder, "owner/tiny") == "owner/tiny: the Hugging Face Hub did not accept it: out of order (status 500)"
    assert not (folder / "README.md").exists()


def test_an_upload_plan_lists_what_would_be_sent(folder, monkeypatch, tmp_path):
    hub_at(closed_port(), tmp_path / "home", monkeypatch)
    sent = upload_plan(folder, "owner/tiny")
    assert sent.folder == folder
    assert sent.writes_card
    assert list(sent.sizes) == SENT
    assert sent.sizes["model.safetensors"] == (folder / "model.safetensors").stat().st_size
    assert sent.sizes["README.md"] == len(sent.card.encode())
    assert not (folder / "README.md").exists()


def test_links_that_lead_out_are_refused_by_name(hub, folder, tmp_path):
    (tmp_path / "secret").write_text("key")
    (folder / "vocab.txt").symlink_to(tmp_path / "secret")
    assert f"{folder / 'vocab.txt'} is a link to {tmp_path / 'secret'}, outside its folder" in refusal(folder, "owner/tiny")
    (folder / "vocab.txt").unlink()
    (folder / "README.md").symlink_to(tmp_path / "secret")
    assert f"{folder / 'README.md'} is a link to" in refusal(folder, "owner/tiny")
    assert (tmp_path / "secret").read_text() == "key"
    (folder / "README.md").unlink()
    (folder / "vocab.txt").symlink_to(folder / "config.json")
    assert "vocab.txt" in upload_plan(folder, "owner/tiny").sizes


def test_links_of_the_hubs_own_cache_are_followed(folder, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in list(folder.iterdir()):
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(blobs / file.name)
    assert {"config.json", "model.safetensors"} <= upload_plan(snapshot, "owner/tiny").sizes.keys()
