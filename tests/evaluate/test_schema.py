"""Stored results of others: what measurements write passes, and whatever is altered is one ValueError with its field."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genlip.evaluate import scores
from genlip.evaluate.comparison.compare import compare_models
from genlip.evaluate.comparison.page import comparison_text
from genlip.evaluate.model_page import model_page
from genlip.evaluate.registry import MEASUREMENTS
from genlip.evaluate.result_files import read_result, read_results, write_result

from .speaking import small_speaker
from .test_pages import MEASURED

WRONG = ["<b>", None, -1, float("inf"), float("nan"), 10**400, 10**15, True, [], {}, [[]], {"a": 1}, 0.5]
ALTERED = 60  # of each measurement


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored result of every measurement."""
    home = tmp_path_factory.mktemp("evaluations")
    speaker = small_speaker()
    for measure in MEASURED.values():
        write_result(measure(speaker), home)
    return home


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a value, of lists the first and the last entry."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number in dict.fromkeys((0, len(value) - 1) if value else ()):
            yield from places(value[number], (*path, number))


def altered(stored: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    found = json.loads(json.dumps(stored))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = wrong
    return found


def answer(one: Path, other: Path) -> str:
    """What a page and a comparison refuse; any other exception than a ValueError fails the test."""
    try:
        model_page(read_results(other), "altered")
        comparison_text(compare_models([str(one), str(other)]))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_whatever_field_is_altered_the_answer_is_a_page_or_one_line(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resampled = scores.resampled
    monkeypatch.setattr(scores, "resampled", lambda some, level, resamples, seed: resampled(some, level, 20, seed))
    (own,) = folder.glob(f"{name}.*")
    shutil.copytree(own, tmp_path / "honest" / own.name)
    stored = json.loads((own / "result.json").read_text(encoding="utf8"))
    assert model_page([read_result(own)], "honest")
    draw, refused = random.Random(0), 0
    every = [(path, wrong) for path in places(stored) for wrong in WRONG]
    for path, wrong in draw.sample(every, min(ALTERED, len(every))):
        file = tmp_path / "x" / own.name / "result.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        for picture in own.glob("*.png"):
            (file.parent / picture.name).write_bytes(picture.read_bytes())
        file.write_text(json.dumps(altered(stored, path, wrong)), encoding="utf8")
        told = answer(tmp_path / "honest", tmp_path / "x")
        refused += told != ""
        assert "\n" not in told, (path, wrong)
        assert len(told) < 1000, (path, wrong)
    assert refused


@pytest.mark.parametrize(
    ("path", "wrong", "told"),
    [
        (("keys",), 5, "keys is 5: it must be a list"),
        (("keys", 0), 5, "keys[0] is 5: it must be a text"),
        (("model",), None, "model is None: it must be a text"),
        (("about", "seconds"), "long", "about.seconds is 'long': it must be a finite number"),
        (("scores", "loss", "formula"), "exec", "scores.loss.formula is 'exec': it must be one of"),
        (("scores", "loss", "evidence"), [[1]], "scores.loss.evidence is not what ratio needs"),
        (("scores", "loss", "evidence", 0), "x", "scores.loss.evidence is not what ratio needs"),
        (("scores", "BLEU-4", "evidence", 0, 9), -9.0, "scores.BLEU-4.evidence is not what bleu needs"),
        (("figures", "asked"), "all", "figures.asked is 'all': it must be a whole number"),
        (("outputs", 0, "spoken"), 5, "outputs[0].spoken is 5: it must be a text"),
        (("pictures",), ["../a.png"], "a picture is named '../a.png'"),
        (("surplus",), 1, "it has the unknown key 'surplus'"),
    ],
)
def test_the_field_is_named(path: tuple[Any, ...], wrong: Any, told: str, folder: Path, tmp_path: Path) -> None:
    (own,) = folder.glob("captioning.*")
    stored = json.loads((own / "result.json").read_text(encoding="utf8"))
    (tmp_path / "result.json").write_text(json.dumps(altered(stored, path, wrong)), encoding="utf8")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'result.json'}: not a stored result: ")) as error:
        read_result(tmp_path)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("path", "wrong", "told"),
    [
        (("outputs", 0, "grid", 0), "<script>", "outputs[0].grid[0] is '<script>': it must be a whole number"),
        (("outputs", 0, "grid"), [10**9, 10**9], "entries for a grid of 1000000000 x 1000000000 patches"),
        (("outputs", 0, "grid"), [0, 5], "outputs[0].grid is 0 x 5: it must have rows and columns"),
        (("outputs", 0, "objects", 0, "patches"), [10**6], "outputs[0] names patch 1000000 of a grid of"),
        (("outputs", 0, "words", 0, 0, 1), "likely", "outputs[0].words[0][0][1] is 'likely': it must be a finite number"),
    ],
)
def test_what_a_picture_is_drawn_by_fits(path: tuple[Any, ...], wrong: Any, told: str, folder: Path, tmp_path: Path) -> None:
    (own,) = folder.glob("readout.*")
    stored = json.loads((own / "result.json").read_text(encoding="utf8"))
    (tmp_path / "result.json").write_text(json.dumps(altered(stored, path, wrong)), encoding="utf8")
    with pytest.raises(ValueError, match=re.escape(told)):
        read_result(tmp_path)
