"""The quickstart from training to its page, with a model too small to learn anything."""

import dataclasses
import json
import os
import re
import shlex
import shutil
from html import escape, unescape
from pathlib import Path

import pytest
import torch
from PIL import Image

import genlip
from genlip.cli.main import main
from genlip.data.sources import Procedural
from genlip.quickstart import Measured, measure, render, results, run_quickstart
from genlip.recipes import OWN_IMAGES
from genlip.recipes.recipe import RecipeError, Run, load_recipe
from genlip.speaker import PatchWords
from genlip.train.tracking import read_log

TINY = [
    f"--{key}={value}"
    for key, value in {
        "steps": 2,
        "packing.max_tokens": 160,
        "packing.streams": 2,
        "precision": "float32",
        "log_every": 1,
        "evaluate_every": 1,
        "data.workers": 0,
        "data.held_out_samples": 4,
        "model.hidden_size": 16,
        "model.intermediate_size": 16,
        "model.num_hidden_layers": 1,
        "model.num_attention_heads": 2,
    }.items()
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished quickstart."""
    folder = tmp_path_factory.mktemp("quick start") / "run"
    assert run_quickstart(folder, TINY, images=5) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def run(out: Path) -> Run:
    return load_recipe("quickstart", ["--out", str(out), *TINY])


@pytest.fixture(scope="module")
def measured(out: Path, run: Run) -> Measured:
    return measure(run, genlip.Speaker.load(out / "model"), 5)


def test_the_first_held_out_images_are_captioned(measured: Measured) -> None:
    assert [one.caption for one in measured.spoken] == [Procedural("scenes", 1).caption(i) for i in range(5)]
    assert len(measured.said.words) == 16


def test_the_page_shows_the_captions(out: Path, measured: Measured) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", (out / "report.html").read_text(encoding="utf8")).split())
    for one in measured.spoken:
        assert escape(one.caption) in text


def test_the_figures_are_those_of_the_run(out: Path, measured: Measured) -> None:
    found = json.loads((out / "results.json").read_text(encoding="utf8"))
    parameters = sum(p.numel() for p in genlip.load(out / "model").parameters())
    assert (found["captions"], found["steps"], found["samples"], found["parameters"]) == (5, 2, 10, parameters)
    assert found["exact_match"] == sum(one.caption == one.spoken for one in measured.spoken) / 5
    assert found["picture_gain"] == read_log(out, "held_out")[-1]["picture_gain"]
    assert found["samples_per_s"] == pytest.approx(10 / found["training_seconds"], rel=0.02)
    assert found["precision"] == "float32"
    assert found["versions"]["torch"] == torch.__version__


def test_every_path_that_the_page_recommends_exists(out: Path) -> None:
    lines = re.findall(r"<code>(.*?)</code>", (out / "report.html").read_text(encoding="utf8"))
    caption, readout = (shlex.split(unescape(line)) for line in lines[:2])
    for command in (caption, readout):
        assert all(Path(argument).exists() for argument in command[2:])
    image = genlip.Speaker.load(caption[2]).caption([caption[3]], max_tokens=64)
    assert image == genlip.Speaker.load(out / "model").caption([Procedural("scenes", 1)[0].image], max_tokens=64)


def test_the_recipes_that_the_page_recommends_are_valid(out: Path) -> None:
    lines = re.findall(r"<code>(genlip train .*?)</code>", (out / "report.html").read_text(encoding="utf8"))
    runs = [load_recipe(words[2], words[3:]) for words in (shlex.split(unescape(line)) for line in lines)]
    assert runs[0].steps > 1500
    assert (runs[1].data.source, runs[1].data.held_out) == ("images/", "")


def test_readme_page_and_help_give_the_same_command_for_own_images(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    texts = [capsys.readouterr().out, unescape((out / "report.html").read_text(encoding="utf8"))]
    texts.append((Path(__file__).parents[1] / "README.md").read_text(encoding="utf8"))
    commands = [re.findall(r"genlip train quickstart --out \S+ --data\.source [^\n<#]*", text) for text in texts]
    assert [[one.rstrip() for one in found] for found in commands] == [[f"genlip {OWN_IMAGES}"]] * 3


def test_the_command_for_own_images_trains_on_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(200):
        Image.new("RGB", (20, 30), (number, 40, 90)).save(tmp_path / f"images/{number}.png")
        (tmp_path / f"images/{number}.txt").write_text(f"image number {number}\n")
    tiny = [word for word in TINY if "held_out" not in word]
    assert main([*shlex.split(OWN_IMAGES), *tiny]) == 0
    (start,) = read_log(tmp_path / "runs/mine", "start")
    assert (start["samples"], start["held_out"]) == (100, "100 of images/")
    assert (tmp_path / "runs/mine/model/model.safetensors").is_file()


def test_failures_are_shown_only_if_there_are_any_beyond_the_first(measured: Measured) -> None:
    right = [one._replace(spoken=one.caption) for one in measured.spoken]
    perfect = dataclasses.replace(measured, spoken=(right * 7)[:30])
    wrong = dataclasses.replace(measured, spoken=[*perfect.spoken[:28], right[0]._replace(spoken="wrong"), right[1]])
    assert "100.0%" in render(perfect)
    assert "More captions that are not exact" not in render(perfect)
    assert render(wrong).count("✗") == 1
    assert "29 of 30" in render(wrong)


def test_the_samples_of_all_sources_count_and_skipped_ones_do_not(measured: Measured) -> None:
    mixed = dataclasses.replace(measured, end={**measured.end, "used": {"a": 5, "b": 2}, "skipped": {"a": {"damaged": 3}}})
    assert results(mixed)["samples"] == 7


def test_resuming_a_finished_run_only_measures_again(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    assert run_quickstart(copy, TINY, images=3) == copy / "report.html"
    assert read_log(copy, "train") == read_log(out, "train")
    assert json.loads((copy / "results.json").read_text(encoding="utf8"))["captions"] == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(r"\d of 3 captions .* exactly right\nreport: .*report\.html\n.*\n$", said.err)
    told, command = said.err.splitlines()[-1].split(": ", 1)
    assert told == "describe an image"
    assert main(shlex.split(command.removeprefix("genlip "))) == 0
    assert capsys.readouterr().out


def test_a_folder_with_a_run_is_not_overwritten(out: Path) -> None:
    with pytest.raises(ValueError, match="holds a run"):
        run_quickstart(out, TINY, resume="never")


@pytest.mark.parametrize(("override", "images"), [("--data.held_out=", 5), ("--steps=2", 0)])
def test_what_cannot_be_measured_is_refused_before_training(tmp_path: Path, override: str, images: int) -> None:
    with pytest.raises(ValueError, match="captions at least 1 image of a source that it is not trained on"):
        run_quickstart(tmp_path / "run", [*TINY, override], images=images)
    assert not (tmp_path / "run").exists()


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean steps"):
        run_quickstart(tmp_path / "run", ["--stepz=2"])


@pytest.mark.parametrize(("tokens", "explained"), [("aaab", True), ("aabb", False), ("abcd", False)])
def test_patches_that_mostly_say_the_same_are_explained(measured: Measured, tokens: str, explained: bool) -> None:
    said = PatchWords((2, 2), [[(token, 0.5)] for token in tokens])
    assert ("At 3 of 4 it is “a”" in render(dataclasses.replace(measured, said=said))) is explained


@pytest.mark.slow
@pytest.mark.usefixtures("all_captions")
def test_the_packaged_recipe_describes_nine_of_ten_held_out_scenes_exactly(tmp_path: Path) -> None:
    """Minutes of training; the figure that the README promises."""
    torch.set_num_threads(os.cpu_count() or 1)
    run_quickstart(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["exact_match"] >= 0.9
