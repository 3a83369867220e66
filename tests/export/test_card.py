"""Model cards: true to the folder and the run, silent about machines, and their snippets run."""

import io
import json
import re
import shutil

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

import genlip
from genlip.export.card import model_card
from genlip.model.checkpoint import CheckpointError
from genlip.train.loop import train_model
from genlip.train.tracking import Tracker

from ..train.helpers import small_run
from .helpers import model_folder, published_folder

HEADINGS = ["What it is", "Data", "Recipe", "Metrics", "Limits", "How to use", "Licence", "Citation"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was really trained, and its events as plain JSON."""
    out = tmp_path_factory.mktemp("runs") / "small"
    train_model(small_run(out, steps=3))
    return out


def section(card, title):
    return re.search(rf"## {title}\n\n(.*?)(?=\n## |\Z)", card, re.DOTALL)[1]


def rows(card, title):
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", section(card, title), re.MULTILINE))


def blocks(card, language):
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


def test_the_header_is_what_the_hub_reads(folder):
    _, header, body = model_card(folder, "owner/tiny", license="mit").split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "mit",
        "library_name": "genlip",
        "pipeline_tag": "image-to-text",
        "tags": ["genlip", "vision-encoder", "image-captioning", "arxiv:2605.00809"],
    }
    assert body.startswith("\n# tiny\n")
    assert re.findall("^## (.*)$", body, re.MULTILINE) == HEADINGS


def test_sizes_are_those_of_the_weights(folder):
    weights = genlip.load(folder).state_dict()
    encoder = sum(w.numel() for name, w in weights.items() if name.startswith(("vision_embeddings", "visual", "ln_post")))
    found = rows(model_card(folder, "owner/tiny"), "What it is")
    assert found == {
        "parameters": f"{sum(w.numel() for w in weights.values()):,}, of which the encoder has {encoder:,}",
        "stored as": "float32",
        "layers, width, heads": "4, 192, 4",
        "feed-forward width": "512 (gated, silu)",
        "text width": "192",
        "patches": "4 x 4 pixels, 3 channels",
        "vocabulary": "320",
        "images": "own aspect ratio, 4 to 60 patches",
        "prompt": "`describe the image`",
        "captions": r"at most 512 tokens, ended by `<\|im_end\|>\n`",
    }


def test_other_settings_are_told_as_they_are(tmp_path):
    changes = {"use_swiglu_ffn": False, "hidden_act": "gelu", "text_embed_dim": 64}
    folder = model_folder(tmp_path, resize="fixed", prompt="", **changes)
    genlip.save(genlip.load(folder, dtype=torch.bfloat16), folder)
    found = rows(model_card(folder, "owner/tiny"), "What it is")
    assert found["stored as"] == "bfloat16"
    assert found["feed-forward width"] == "512 (gelu)"
    assert found["text width"] == "64"
    assert found["images"] == "resized to 24 x 24 pixels"
    assert found["prompt"] == "none"


def test_what_is_not_known_is_unknown(folder):
    card = model_card(folder, "owner/tiny")
    assert all(section(card, title).startswith("Unknown: ") for title in ("Data", "Recipe", "Metrics"))


def test_the_card_says_what_the_log_says(run):
    card = model_card(run / "model", "owner/tiny", run, data="Little scenes.")
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    last = {event["event"]: event for event in events}
    found = rows(card, "Metrics")
    exact = sum(sample["exact"] for sample in last["spoken"]["samples"])
    source = last["start"]["held_out"]
    assert found == {
        "training loss": f"{last['train']['loss']:.3f} nats per token, over the last updates, at step 3",
        "held-out loss": f"{last['held_out']['loss']:.3f} nats per token of `{source}`, at step 3",
        "picture gain": f"{last['held_out']['picture_gain']:.3f} nats per token less with the right image than with a wrong "
        "one, at step 3",
        "held-out captions": f"{exact} of {len(last['spoken']['samples'])} equal to the true ones, at step 3",
        "training": f"3 steps in {last['end']['seconds']:,.1f} seconds on {last['start']['machine']}; "
        f"{sum(last['end']['used'].values()):,} samples, {last['end']['tokens']:,} tokens, patches included",
    }
    assert section(card, "Data").startswith("Little scenes.\n\nThe run was trained on ")
    assert f"`{last['start']['source']}`, which holds {last['start']['samples']:,} samples." in section(card, "Data")
    (recipe,) = blocks(card, "yaml")
    assert yaml.safe_load(recipe) == {
        key: value for key, value in last["start"]["run"].items() if key not in ("out", "trackers")
    }
    assert str(run.parent) not in card


def test_what_the_quickstart_measured_afterwards_counts_more_than_a_few_samples(run, tmp_path):
    measured = shutil.copytree(run, tmp_path / "measured")
    (measured / "results.json").write_text(json.dumps({"exact_match": 0.992, "captions": 500, "steps": 1500}))
    found = rows(model_card(measured / "model", "owner/tiny", measured), "Metrics")
    assert found["held-out captions"] == "496 of 500 equal to the true ones, at step 1,500"


def test_a_run_that_goes_on_after_its_model_was_written_is_read_up_to_there(folder, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with Tracker(out, 0, console=Console(file=io.StringIO())) as tracker:
        tracker.start(step=0)
        for step, loss in ((5, 2.0), (10, 1.5)):
            tracker.event("train", step=step, loss=loss, seconds=float(step))
        tracker.event("end", step=10, seconds=10.0, tokens=1234, used={"a": 20, "b": 3})
        tracker.start(step=10)
        tracker.event("train", step=15, loss=1.0, seconds=15.0)
    found = rows(model_card(folder, "owner/tiny", out), "Metrics")
    assert found["training loss"].startswith("1.500 ")
    assert found["training"] == "10 steps in 10.0 seconds; 23 samples, 1,234 tokens, patches included"
    assert found["held-out loss"] == found["picture gain"] == found["held-out captions"] == "unknown"


def test_a_run_without_an_end_says_so(folder, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with Tracker(out, 0, console=Console(file=io.StringIO())) as tracker:
        tracker.event("train", step=5, loss=None, seconds=7.0)
    found = rows(model_card(folder, "owner/tiny", out), "Metrics")
    assert found["training loss"] == "unknown"
    assert found["training"] == "5 steps in 7.0 seconds; the run had not ended"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("/home/someone/data/{00..09}.tar", "{00..09}.tar"),
        ("~/data/*.tar", "*.tar"),
        ("C:\\Users\\someone\\data.csv", "data.csv"),
        ("file:///home/someone/a.tar", "a.tar"),
        ("a/b.tar, /c/d.tar", "a/b.tar, d.tar"),
        ("s3://bucket/a/b.tar", "s3://bucket/a/b.tar"),
        ("https://user:secret@host/a.tar?signature=xyz", "https://host/a.tar"),
        ("scenes:0", "scenes:0"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
    ],
)
def test_where_files_lie_and_who_signs_in_is_left_out(stored, told, folder, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    recipe = {
        "out": "/home/someone/runs",
        "init_from": stored,
        "data": {"source": stored, "fields": "a=1"},
        "prompt": "/say",
    }
    with Tracker(out, 0, run=recipe, console=Console(file=io.StringIO())) as tracker:
        tracker.start(step=0, source=stored, samples=1200, held_out=stored)
        tracker.event("held_out", step=1, loss=1.0, picture_gain=0.5)
    card = model_card(folder, "owner/tiny", out)
    (settings,) = blocks(card, "yaml")
    assert yaml.safe_load(settings) == {"init_from": told, "data": {"source": told, "fields": "a=1"}, "prompt": "/say"}
    assert f"The run was trained on `{told}`, which holds 1,200 samples." in card
    assert rows(card, "Metrics")["held-out loss"] == f"1.000 nats per token of `{told}`, at step 1"
    assert "someone" not in card
    assert "secret" not in card


def test_the_same_files_give_the_same_card(run):
    assert model_card(run / "model", "owner/tiny", run) == model_card(run / "model", "owner/tiny", run)


def test_what_is_no_checkpoint_has_no_card(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        model_card(tmp_path, "owner/tiny")
    with pytest.raises(ValueError, match=r"holds no log\.jsonl"):
        model_card(folder, "owner/tiny", tmp_path)


# -- the snippets


@pytest.fixture
def desk(tmp_path, monkeypatch, folder):
    """A place in which the card's names are folders."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((40, 30), 60).convert("RGB").save("photo.jpg")
    (tmp_path / "owner").mkdir()
    return tmp_path


def snippets(card):
    """Shell lines and Python of each library."""
    parts = re.findall(
        r"^(genlip|Transformers|timm|ONNX Runtime):\n\n((?:```\w+\n.*?```\n*)+)", card, re.DOTALL | re.MULTILINE
    )
    return {title: (blocks(text, "bash"), blocks(text, "python")) for title, text in parts}


def execute(code, **names):
    exec(compile(code, "card", "exec"), names)
    return names


def test_every_library_needs_less_than_ten_lines(folder):
    found = snippets(model_card(folder, "owner/tiny"))
    assert list(found) == ["genlip", "Transformers", "timm", "ONNX Runtime"]
    for shell, python in found.values():
        assert len(python) == 1
        assert sum(len(text.splitlines()) for text in shell + python) < 10
        compile(python[0], "card", "exec")
    assert found["ONNX Runtime"][0] == ["genlip export owner/tiny onnx/ --to onnx\n"]


def test_the_lines_for_genlip_and_timm_run(folder, desk, capsys):
    (desk / "owner/tiny").symlink_to(folder)
    found = snippets(model_card(folder, "owner/tiny"))
    names = execute(found["genlip"][1][0])
    assert capsys.readouterr().out.strip() == names["speaker"].caption(["photo.jpg"])[0].strip()
    assert names["features"].patches.shape[1] == 192
    pytest.importorskip("timm")
    model = execute(found["timm"][1][0])["model"]
    assert model.forward_features(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 192)


@pytest.mark.parametrize("remote", [True, False])
def test_the_lines_for_transformers_run(remote, folder, desk, capsys):
    from genlip.export.transformers import export_transformers

    export_transformers(folder, desk / "owner/hf", remote_code=remote)
    shell, (code,) = snippets(model_card(desk / "owner/hf", "owner/hf"))["Transformers"]
    assert not shell
    assert ("trust_remote_code=True" in code) == remote
    assert ("genlip" in code) != remote
    execute(code)
    said = capsys.readouterr().out.strip()
    assert said == genlip.Speaker.load(folder).caption(["photo.jpg"], max_tokens=256, repetition_stop=0)[0].strip()


def test_a_plain_folder_is_first_written_for_transformers(folder, desk, capsys):
    from genlip.cli.main import main

    (desk / "owner/tiny").symlink_to(folder)
    (shell,), (code,) = snippets(model_card(folder, "owner/tiny"))["Transformers"]
    assert shell == "genlip export owner/tiny hf/ --to transformers\n"
    assert main(shell.split()[1:]) == 0
    execute(code)


def test_a_model_that_cannot_speak_is_shown_as_an_encoder(desk):
    folder, _ = published_folder("interleaved_plain", desk / "owner/published")
    card = model_card(folder, "owner/published")
    assert "The model has no tokenizer" in card
    assert rows(card, "What it is")["images"].startswith("unknown; genlip assumes 224 x 224 pixels")
    found = snippets(card)
    assert "encode(" in found["genlip"][1][0]
    assert all("caption(" not in python[0] for _, python in found.values())
    assert found["ONNX Runtime"][0] == ["genlip export owner/published onnx/ --to onnx --encoder-only\n"]
