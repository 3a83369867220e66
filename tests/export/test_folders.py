"""Over an older export, of whatever kind and model, what is read afterwards is the new model alone."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import genlip
from genlip.cli.main import main
from genlip.data.captions import train_tokenizer
from genlip.data.preprocessing import load_preprocessing
from genlip.export import export_model
from genlip.export.folders import clear
from genlip.export.published import export_published
from genlip.model.checkpoint import CheckpointError

from ..stopping import Stop, stopped_at
from .helpers import CORPUS, model_folder

# What each library writes where the model has neither tokenizer nor preprocessing.
WRITTEN = {
    "published": {"config.json", "model.safetensors"},
    "timm": {"config.json", "model.safetensors"},
    "onnx": {"config.json", "encoder.onnx", "weights.bin"},
    "transformers": {"config.json", "model.safetensors", "preprocessor_config.json"},
}
NEEDS = {"published": "torch", "timm": "timm", "onnx": "onnxscript", "transformers": "transformers"}
STALE = [  # of a folder fetched from somewhere, in which a reader would look, too
    "preprocessor_config.json", "chat_template.jinja", "chat_template.json", "special_tokens_map.json",
    "added_tokens.json", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
]  # fmt: skip
THEIRS = ["notes.txt", "README.md", "mine_genlip.py", "detector.onnx", "model-backup.safetensors", "old/config.json"]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model in every format, all in one folder, with files of a user."""
    folder = tmp_path_factory.mktemp("older")
    model, out = model_folder(folder / "model", num_hidden_layers=1), folder / "out"
    for to in ("transformers", "onnx", "published"):
        pytest.importorskip(NEEDS[to])
        options = {"transformers": {"remote_code": True}, "onnx": {"captions": False}}.get(to, {})
        shutil.copytree(export_model(model, folder / to, to, **options), out, dirs_exist_ok=True)
    (out / "old").mkdir()
    for name in (*STALE, *THEIRS):
        (out / name).write_text(name)
    return out


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, with a feed-forward network of its own width, and nothing beside it."""
    folder = model_folder(tmp_path_factory.mktemp("bare"), num_hidden_layers=1, intermediate_size=100)
    for name in ("tokenizer.json", "preprocessing.json"):
        (folder / name).unlink()
    return folder


@pytest.fixture
def out(older: Path, tmp_path: Path) -> Path:
    """A copy of `older` to write over."""
    return Path(shutil.copytree(older, tmp_path / "out"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("to", WRITTEN)
def test_an_older_export_goes_and_what_is_the_users_stays(to: str, out: Path, bare: Path):
    pytest.importorskip(NEEDS[to])
    assert files(out) >= {"modeling_genlip.py", "encoder.onnx", "tokenizer_config.json", "generation_config.json", *STALE}
    export_model(bare, out, to, **({"captions": False} if to == "onnx" else {}))
    assert files(out) == {*WRITTEN[to], *THEIRS}
    assert all((out / name).read_text() == name for name in THEIRS)


def test_what_is_read_afterwards_is_the_new_model(out: Path, bare: Path):
    export_published(bare, out)
    weights = genlip.load(out).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in load_file(bare / "model.safetensors").items())
    assert load_preprocessing(out)[1] is None


def test_onnx_over_an_older_export_leaves_no_other_weights_to_load(out: Path, bare: Path):
    pytest.importorskip("onnxscript")
    export_model(bare, out, "onnx", captions=False)
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors"):
        genlip.load(out)


@pytest.mark.parametrize("to", ["published", "timm", "onnx", "transformers"])
def test_an_export_that_is_refused_leaves_the_older_one(to: str, out: Path, bare: Path, tmp_path: Path):
    pytest.importorskip(NEEDS[to])
    before = {name: (out / name).read_bytes() for name in files(out)}
    source = Path(shutil.copytree(bare, tmp_path / "source"))
    if to == "published":
        (source / "model.safetensors").write_bytes(b"damaged")
    if to == "timm":  # which knows no chunked MRoPE
        model = genlip.GenLIP(genlip.GenLIPConfig.preset("tiny", mrope_interleaved=False, num_hidden_layers=1))
        genlip.save(model, source)
    if to == "transformers":  # the tokenizer of another model
        large = train_tokenizer(CORPUS, 300)
        large.add_tokens([f"word{number}" for number in range(500)])
        large.save(str(source / "tokenizer.json"))
    assert main(["export", str(source), str(out), "--to", to]) == 1  # for ONNX, captions without a tokenizer
    assert {name: (out / name).read_bytes() for name in files(out)} == before


def test_clearing_touches_no_folder_and_needs_none(tmp_path: Path):
    clear(tmp_path / "absent")
    (tmp_path / "config.json" / "model.safetensors").mkdir(parents=True)
    clear(tmp_path)
    assert (tmp_path / "config.json" / "model.safetensors").is_dir()


def speaking(folder: Path, prompt: str, theta: float) -> Path:
    """Models of one shape: only their settings tell them apart."""
    return model_folder(folder, num_hidden_layers=1, prompt=prompt, rope_theta=theta)


@pytest.mark.parametrize("to", ["published", "transformers", "timm"])
def test_an_export_that_stops_at_any_change_leaves_the_old_one_the_new_one_or_one_error(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip(NEEDS[to])
    models = {theta: speaking(tmp_path / prompt, prompt, theta) for prompt, theta in (("old", 10_000.0), ("new", 500.0))}
    old = export_model(models[10_000.0], tmp_path / "first", to)
    new = export_model(models[500.0], tmp_path / "second", to)
    whole = {
        name: {file: (folder / file).read_bytes() for file in files(folder)} for name, folder in (("old", old), ("new", new))
    }
    ends: set[str] = set()
    for number in range(400):
        out = Path(shutil.copytree(old, tmp_path / f"out-{number}"))
        with monkeypatch.context() as patched:
            stopped_at(number, patched)
            with suppress(Stop):
                export_model(models[500.0], out, to)
                ends.add("finished")
        found = {file: (out / file).read_bytes() for file in files(out) if "/" not in file and not file.endswith(".part")}
        states = [name for name, content in whole.items() if content == found]
        if not states:
            assert "config.json" not in found, number
            with pytest.raises(CheckpointError, match=r"not a checkpoint: it has no config\.json"):
                genlip.load(out)
        ends.update(states or ["refused"])
        shutil.rmtree(out)
        if "finished" in ends:
            break
    assert ends == {"old", "refused", "new", "finished"}


def test_a_full_disk_is_one_line_with_the_file_and_leaves_the_older_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    old, new = speaking(tmp_path / "old", "old", 1e4), speaking(tmp_path / "new", "new", 500.0)
    out = export_model(old, tmp_path / "out", "published")

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("genlip.model.weights.save_file", full)
    assert main(["export", str(new), str(out), "--to", "published"]) == 1
    told = capsys.readouterr().err
    assert re.fullmatch(r"genlip: \S+model\.safetensors: cannot be written: .*No space left on device.*\n", told)
    assert genlip.load(out).config.rope_theta == 1e4
    assert files(out) == {"config.json", "model.safetensors", "tokenizer.json", "preprocessing.json"}
