"""`genlip eval`, `report` and `compare`: every measurement on a tiny model, and what is refused in one line."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import genlip
import genlip.encoders
from genlip.cli.eval import _partial
from genlip.cli.main import main
from genlip.data.datasets.opening import open_labelled
from genlip.data.sources import open_source
from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
from genlip.evaluate.registry import MEASUREMENTS
from genlip.evaluate.result_files import evaluations_folder, read_results
from genlip.train.loop import train_model

from ..encoders.towers import saved_tower
from ..train.helpers import small_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_model(small_run(tmp_path_factory.mktemp("run"), steps=2))


@pytest.fixture
def model(trained, tmp_path, monkeypatch):
    """A copy, whose evaluations are its own; and no features kept from other tests."""
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    return str(shutil.copytree(trained, tmp_path / "model"))


@pytest.fixture
def classes(tmp_path):
    """A folder for each of two colours, six images in each."""
    for colour in ("red", "blue"):
        folder = tmp_path / "classes" / colour
        folder.mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (32, 32), (colour)).save(folder / f"{number}.png")
    return str(tmp_path / "classes")


def error_line(capsys, *arguments):
    """The one line that a failing command prints."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) not in (0, None)
    *before, line = capsys.readouterr().err.splitlines()
    assert line.startswith("genlip: ")
    assert not any(text.startswith(("genlip: ", "Traceback")) for text in before)
    return line


def stored(model):
    return read_results(Path(model) / "evaluations")


def test_captioning_says_and_stores_what_python_finds(model, capsys):
    assert main(["eval", "captioning", model, "scenes:1", "--limit", "5", "--max-tokens", "4", "--dtype", "float32"]) == 0
    expected = measure_captioning(
        genlip.Speaker.load(model), open_source("scenes:1"), CaptioningConfig(max_tokens=4), limit=5
    )
    (result,) = stored(model)
    assert result.about["precision"] == "float32"
    assert {name: score.score for name, score in result.scores.items()} == {
        name: score.score for name, score in expected.scores.items()
    }
    said = capsys.readouterr().out
    assert f"loss{'':{max(map(len, result.scores)) - 4}}  {expected.scores['loss'].score:.4f}" in said
    assert f"page of all results: genlip report {model}" in said
    assert main(["report", model]) == 0
    assert "scenes:1" in (Path(model) / "evaluations/report.html").read_text(encoding="utf8")


def test_captions_of_an_interrupted_measurement_are_found_whatever_does_not_change_them(monkeypatch):
    found = []
    monkeypatch.setattr("genlip.cli.eval._captioned", lambda args: [])
    monkeypatch.setattr("genlip.cli.eval._run", lambda args, total, measure: found.append(_partial(args)))
    asked = ["eval", "captioning", "m", "scenes:1"]
    same = [[], ["--batch-size", "3"], ["--device", "cpu"], ["--threads", "2"], ["--transcription"]]
    others = [["--max-tokens", "3"], ["--limit", "9"], ["--prompt", "a"], ["--dtype", "bfloat16"], ["--size", "64"]]
    for more in (*same, *others):
        assert main([*asked, *more]) == 0
    assert len(set(found[: len(same)])) == 1
    assert len(set(found)) == 1 + len(others)


@pytest.mark.parametrize("name", ["readout", "attention"])
def test_the_table_of_scores_has_headings(name, model, capsys):
    assert main(["eval", name, model, "scenes:1", "--limit", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ", 1)[0] == "score"
    (result,) = stored(model)
    assert [line.split("  ", 1)[0] for line in lines[1:]][: len(result.scores)] == list(result.scores)
    values = lines[0].index("value")
    assert [line[values:].split()[0] for line in lines[1 : len(result.scores) + 1]] == [
        f"{scores.score:.4f}" for scores in result.scores.values()
    ]
    low, high = next(iter(result.scores.values())).interval()
    assert lines[1][lines[0].index("95 % interval") :] == f"{low:.4f} to {high:.4f}"
    assert lines[len(result.scores) + 1] == "3 images"


def test_every_measurement_runs_and_one_page_shows_them(model, classes, capsys):
    few = ["--limit", "6"]
    calls = {
        "captioning": ["scenes:1", *few, "--max-tokens", "3"],
        "zero-shot": [classes, "--template", "a {} square"],
        "probe": [classes, "--train", classes, "--epochs", "1", "--learning-rates", "1e-3"],
        "segmentation": ["scenes:1", "--train", "scenes:0", *few, "--epochs", "1", "--learning-rates", "1e-2"],
        "readout": ["scenes:1", *few, "-k", "3"],
        "attention": ["scenes:1", *few],
        "features": [classes, *few],
    }
    for name, arguments in calls.items():
        assert main(["eval", name, model, *arguments]) == 0, name
    others = {"resolution", "questions", "perplexity"}  # tests of their own: cli/test_eval_mllm.py, studies/
    assert {*calls} | others == set(MEASUREMENTS)
    assert sorted(result.measurement for result in stored(model)) == sorted(calls)
    assert main(["report", model, "--out", str(Path(model) / "page.html")]) == 0
    page = (Path(model) / "page.html").read_text(encoding="utf8")
    assert page.count("<h2>") == len(calls) + 2, "a section of each, a summary, and how it was measured"
    assert all(MEASUREMENTS[name].title in page for name in calls)


def test_progress_counts_up_to_the_images_encoded_and_learned(model, classes, monkeypatch, capsys):
    told: list[int] = []

    @contextmanager
    def counted(what, total):
        told.append(total)
        yield lambda done: told.append(-done)

    monkeypatch.setattr("genlip.progress.progress", counted)
    asked = ["--epochs", "3", "--batch-size", "4", "--learning-rates", "1e-3,1e-2"]
    for name, data in (("probe", [classes, "--train", classes]), ("segmentation", ["scenes:1", "--train", "scenes:0"])):
        told.clear()
        assert main(["eval", name, model, *data, *asked, "--limit", "11"]) == 0
        assert told[0] == 11 + 11 + 3 * 10
        assert sum(told) == 0
    assert [result.settings["batch"] for result in stored(model)] == [4, 4]


def test_a_curve_measures_at_each_size(model, capsys):
    sizes = ["--sizes", "32,64", "--budgets", "4"]
    assert main(["eval", "readout", model, "scenes:1", "--limit", "3", *sizes]) == 0
    (result,) = stored(model)
    assert result.measurement == "resolution"
    assert {name.partition(" at ")[2] for name in result.scores} == {"32x32", "64x64", "up to 4 patches"}


def test_equal_models_compare_as_equal(model, tmp_path, capsys):
    other = str(shutil.copytree(model, tmp_path / "other"))
    for one in (model, other):
        assert main(["eval", "readout", one, "scenes:1", "--limit", "4"]) == 0
    capsys.readouterr()
    assert main(["compare", model, other, "--out", str(tmp_path / "compare.html")]) == 0
    assert "in place" in capsys.readouterr().out
    assert "in place" in (tmp_path / "compare.html").read_text(encoding="utf8")
    measure = f"measure the model first, as in: genlip eval captioning {model} scenes:1"
    assert error_line(capsys, "compare", model, tmp_path) == (
        f"genlip: {tmp_path}: no results in {tmp_path}/evaluations; did you mean {model}?; {measure}"
    )
    assert error_line(capsys, "compare", tmp_path / "modle", model).startswith(f"genlip: {tmp_path}/modle: no such folder, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zero-shot", "{classes}", "--classes", "red, "], "classes"),
        (["zero-shot", "{classes}", "--template", "a square"], "has no place for the name of a class"),
        (["zero-shot", "{tmp}/nowhere"], "nowhere: no such folder; need"),
        (["captioning", "{tmp}/captions.jsonl"], "captions.jsonl"),
        (["captioning", "scenes:1", "--limit", "0"], "--limit is 0: it must be at least 1"),
        (["segmentation", "{tmp}/maps", "--train", "{tmp}/maps", "--classes", "a,b"], "8x8"),
        (["probe", "{classes}", "--train", "{tmp}"], "{tmp}"),
        (["readout", "scenes:1", "--sizes", "33"], "33"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, message, model, classes, tmp_path, capsys):
    for part, side in (("images", 32), ("annotations", 8)):
        (tmp_path / "maps" / part).mkdir(parents=True)
        Image.fromarray(np.zeros((side, side), dtype=np.uint8)).save(tmp_path / "maps" / part / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    (tmp_path / "captions.jsonl").write_text(json.dumps({"path": "one.png", "caption": ""}))
    name, data, *rest = (argument.format(classes=classes, tmp=tmp_path) for argument in arguments)
    assert message.format(tmp=tmp_path) in error_line(capsys, "eval", name, model, data, *rest)
    assert not stored(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["readout", "MODEL", "scenes:1", "--sizes", "64;96"], "--sizes: '64;96': need whole numbers with commas between"),
        (["probe", "MODEL", "a", "--train", "b", "--learning-rates", "high"], "--learning-rates: 'high': need numbers"),
    ],
)
def test_lists_of_numbers_that_are_none_are_said_to_be_so(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["eval", *arguments])
    assert message in capsys.readouterr().err


def test_the_help_of_each_measurement_names_its_python_call(capsys):
    for name in MEASUREMENTS:
        if name in ("resolution", "questions", "perplexity"):  # without a command; of other models: test_eval_mllm.py
            continue
        with pytest.raises(SystemExit):
            main(["eval", name, "--help"])
        told = capsys.readouterr().out
        assert f"python: genlip.measure_{name.replace('-', '_')}(genlip.Speaker.load(MODEL), DATA" in told


@pytest.fixture
def towers(tmp_path, monkeypatch):
    """Random towers of other libraries: as MODEL and its options; results are stored below the current folder."""
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), "vit.safetensors")
    saved_tower("siglip2", tmp_path / "siglip2")
    saved_tower("siglip", tmp_path / "siglip")
    return {
        "timm": ["timm:test_vit.r160_in1k", "--checkpoint", "vit.safetensors", "--squash"],
        "siglip2": ["transformers:siglip2"],
        "siglip": ["transformers:siglip"],
    }


@pytest.mark.parametrize("tower", ["timm", "siglip2"])
def test_towers_of_other_libraries_are_measured_reported_and_compared(tower, towers, classes, capsys):
    model, *options = towers[tower]
    rate = ["--epochs", "1", "--learning-rates", "1e-2"]
    calls = {
        "probe": [classes, "--train", classes, *rate],
        "segmentation": ["scenes:1", "--train", "scenes:0", "--limit", "6", *rate],
        "features": [classes, "--limit", "4"],
    }
    for name, arguments in calls.items():
        assert main(["eval", name, model, *arguments, *options, "--dtype", "float32"]) == 0, capsys.readouterr().err
    shown = model if tower == "siglip2" else f"{model}@vit.safetensors+squash"
    folder = Path("evaluations") / shown.replace(":", "--")
    found = {result.measurement: result for result in read_results(folder)}
    assert found.keys() == calls.keys()
    assert {result.model for result in found.values()} == {shown}
    assert found["probe"].settings["resize"] == ("native" if tower == "siglip2" else "fixed")
    assert "preprocessing" in found["probe"].about["encoder"]
    assert f"page of all results: genlip report {shown}" in capsys.readouterr().out
    assert main(["report", shown]) == 0
    assert (folder / "report.html").is_file()
    shutil.copytree(folder, "evaluations/other")
    assert main(["compare", shown, "evaluations/other"]) == 0
    assert "top-1" in capsys.readouterr().out


def test_python_and_the_command_measure_towers_alike(towers, classes):
    model, *options = towers["timm"]
    assert main(["eval", "probe", model, classes, "--train", classes, *options, "--dtype", "float32", "--epochs", "2"]) == 0
    (stored_result,) = read_results(Path("evaluations/timm--test_vit.r160_in1k@vit.safetensors+squash"))
    data, config = open_labelled(classes), ProbeConfig(epochs=2)
    encoder = genlip.encoders.timm("test_vit.r160_in1k", checkpoint="vit.safetensors", squash=True)
    result = measure_probe(encoder, data, config, train=data, model=encoder.name)
    assert (result.identity, result.model, list(result.keys)) == (
        stored_result.identity, stored_result.model, list(stored_result.keys),
    )  # fmt: skip
    assert result.outputs == stored_result.outputs


@pytest.mark.parametrize("kind", ["genlip", "timm", "transformers"])
def test_a_random_encoder_is_the_same_each_time_and_never_the_trained_one(kind, model, towers, classes, capsys, monkeypatch):
    trained = {"genlip": model, "timm": "timm:test_vit.r160_in1k", "transformers": "transformers:siglip"}[kind]
    name, size = f"random:{trained}", ["--size", "32"] if kind == "genlip" else []
    opened, load_encoder = [], genlip.cli.eval.load_encoder
    monkeypatch.setattr("genlip.cli.eval.load_encoder", lambda args: opened.append(load_encoder(args)) or opened[-1])
    probe = ["eval", "probe", name, classes, "--train", classes, "--epochs", "1", "--learning-rates", "1e-2", *size]
    for seed in ("0", "0", "1"):
        assert main([*probe, "--seed", seed]) == 0, capsys.readouterr().err
        torch.rand(1)
    assert main(["eval", "features", name, classes, "--limit", "4", *(size or ["--squash"])]) == 0
    assert f"page of all results: genlip report {name}" in capsys.readouterr().out
    first, again, other, of_features = [encoder.fingerprint().weights for encoder in opened]
    assert first == again == of_features != other
    folders = [evaluations_folder(encoder.name) for encoder in opened]
    assert {folder.parent for folder in folders} == {Path("evaluations")}, "not among the results of the trained model"
    assert {result.model for result in read_results(folders[0])} == {name}
    if kind == "genlip":
        assert opened[0].image_settings() == {"resize": "fixed", "size": 32}
    assert main(["report", name]) == 0
    assert (folders[0] / "report.html").is_file()


def test_a_curve_of_a_tower_needs_leave_to_resample_positions(towers, classes, capsys):
    model = towers["siglip"][0]
    probe = ["eval", "probe", model, classes, "--train", classes, "--epochs", "1", "--learning-rates", "1e-2"]
    assert "learned positions for images of 64 pixels, and the size is 32" in error_line(capsys, *probe, "--sizes", "32,64")
    assert main([*probe, "--sizes", "32,64", "--interpolate-positions"]) == 0
    assert "reads images of a fixed size (sizes) alone" in error_line(capsys, *probe, "--budgets", "9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["captioning", "timm:test_vit.r160_in1k", "scenes:1"],
            "captioning needs a model that speaks, and timm:test_vit.r160_in1k gives features",
        ),
        (["readout", "transformers:siglip", "scenes:1"], "readout needs a model that speaks, and transformers:siglip gives"),
        (
            ["attention", "timm:test_vit.r160_in1k", "scenes:1"],
            "attention reads the attention weights of a GenLIP, and timm:test_vit.r160_in1k is",
        ),
        (
            ["features", "siglip", "scenes:1"],
            "siglip holds a siglip_vision_model of Transformers, no GenLIP: write transfor",
        ),
        (
            ["features", "timm:test_vit.r160_in1k", "scenes:1", "--checkpoint", "vit.safetensors"],
            "features needs patches of whole images",
        ),
        (
            ["features", "timm:test_vit.r160_in1k", "scenes:1", "--tokenizer", "a"],
            "--tokenizer: timm:test_vit.r160_in1k has no such option",
        ),
        (
            ["features", "transformers:siglip", "scenes:1", "--checkpoint", "a"],
            "--checkpoint a: only a model of timm takes one",
        ),
        (
            ["features", "timm:test_vit", "scenes:1", "--checkpoint", "vit.safetensors"],
            "its name has no tag, so mean, std, interpolation, crop_pct of its images are unknown: name the weights",
        ),
        (
            ["features", "random:timm:test_vit", "scenes:1", "--checkpoint", "vit.safetensors"],
            "--checkpoint vit.safetensors: random:timm:test_vit asks for new weights; leave one of both out",
        ),
        (["features", "random:tiny", "scenes:1", "--tokenizer", "a"], "--tokenizer: random:tiny has no such option"),
        (["features", "random:tiny", "scenes:1", "--squash"], "--squash: only a timm: or transformers: model takes it"),
        (["captioning", "random:tiny", "scenes:1"], "captioning needs a model that speaks, and random:tiny gives features"),
        (
            ["features", "transformers:siglip", "scenes:1", "--resize", "native"],
            "--resize: transformers:siglip has no such option",
        ),
        (
            ["features", "transformers:siglip", "scenes:1", "--size", "64", "--max-patches", "9"],
            "--size 64 and --max-patches 9: transformers:siglip takes one of both",
        ),
        (
            ["features", "transformers:siglip", "scenes:1", "--max-patches", "9"],
            "reads images of a fixed size: give size instead of max_patches",
        ),
        (["features", "owner/name", "scenes:1", "--squash"], "--squash: only a timm: or transformers: model takes it"),
    ],
)
def test_what_a_tower_cannot_do_is_one_line(arguments, message, towers, capsys):
    assert message in error_line(capsys, "eval", *arguments)


def test_other_commands_name_the_right_one_for_a_tower(towers, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save("a.png")
    assert "timm:test_vit.r160_in1k is a model of timm, and this command takes one of genlip" in error_line(
        capsys, "encode", "timm:test_vit.r160_in1k", "a.png"
    )
    assert "write transformers:siglip" in error_line(capsys, "caption", "siglip", "a.png")
    assert "random:tiny asks for new weights, and this command takes a trained" in error_line(
        capsys, "caption", "random:tiny", "a.png"
    )
