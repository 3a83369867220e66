"""The page of a model: all that is stored, in order, and what to do where nothing is."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from genlip.evaluate.model_page import stored_results, summary, write_model_report
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import write_result
from genlip.evaluate.scores import Scores
from genlip.train.run_page import write_report

ABOUT = {"machine": "a <machine>", "versions": {"torch": "2"}, "seconds": 90.0}


def result(measurement: str, data: str = "set", model: str = "runs/m", **about: object) -> Result:
    return Result(
        measurement=measurement,
        model=model,
        data=data,
        settings={"size": 64},
        scores={"first": Scores.mean([1, 0]), "second": Scores.mean([1, 1])},
        keys=["a", "b"],
        about=ABOUT | about,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for one in (result("one's own", "b & c"), result("another"), result("one's own", "a", machine="other")):
        write_result(one, folder / "evaluations")
    return folder


def test_the_page_holds_a_summary_and_every_section(model: Path) -> None:
    path = write_model_report(model)
    assert path == model / "evaluations" / "report.html"
    html = path.read_text()
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Summary", "another on set", "one&#x27;s own on a", "one&#x27;s own on b &amp; c", "How it was measured",
    ]  # fmt: skip
    assert "<h1>Evaluation of runs/m</h1>" in html
    assert "<td>one&#x27;s own</td><td>b &amp; c</td><td>first</td><td>0.500</td><td>0.000 to 1.000</td><td>2</td>" in html
    assert "a &lt;machine&gt;; other" in html, "each machine once"
    assert "torch 2" in html
    assert "<td>another</td><td>set</td><td>90 s</td><td><div>size 64</div></td>" in html


def test_the_folder_of_evaluations_does_as_well_and_title_and_place_can_be_chosen(model: Path, tmp_path: Path) -> None:
    path = write_model_report(model / "evaluations", tmp_path / "page.html", title="My <model>")
    assert path == tmp_path / "page.html"
    assert "<h1>My &lt;model&gt;</h1>" in path.read_text()


def test_results_come_in_the_order_of_a_page(tmp_path: Path) -> None:
    for name in ("own", "readout", "captioning", "attention"):
        write_result(result(name), tmp_path / "evaluations")
    assert [one.measurement for one in stored_results(tmp_path)[1]] == ["captioning", "attention", "readout", "own"]


def test_a_result_without_scores_has_dashes(model: Path) -> None:
    nothing = Result(measurement="views", model="m", data="d", settings={}, scores={}, keys=["a"])
    assert "<td>views</td><td>d</td><td>–</td><td>–</td><td>–</td><td>1</td>" in summary([nothing]).body


def test_results_of_one_set_are_told_apart_by_the_settings_that_differ() -> None:
    probes = [replace(result("probe"), settings={"size": 64, "pooling": pooling}) for pooling in ("attentive", "mean")]
    body = summary([*probes, result("captioning")]).body
    assert "<td>Probe of frozen features, pooling attentive</td>" in body
    assert "<td>Probe of frozen features, pooling mean</td>" in body
    assert "<td>Captioning</td>" in body


def test_a_model_without_results_says_how_to_measure(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no results in .*evaluations; measure the model first, as in: genlip eval captioning"
    ):
        write_model_report(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"^Some/Model: no such folder, and no results of a Hub model of this name in evaluations/Some--Model; measure",
    ):
        write_model_report("Some/Model")


def test_a_damaged_result_is_named(model: Path) -> None:
    file = next((model / "evaluations").glob("*/result.json"))
    file.write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(file))):
        write_model_report(model)


def test_the_page_of_a_run_tells_what_was_measured_of_its_model(model: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"event": "start", "time": 0, "step": 0}\n')
    html = write_report(tmp_path).read_text()
    assert "<h2>Measurements of its model</h2>" in html
    assert "<td>another</td><td>set</td><td>first</td>" in html
    (model / "evaluations").rename(tmp_path / "gone")
    assert "Measurements" not in write_report(tmp_path).read_text()
