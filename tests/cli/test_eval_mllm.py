"""`genlip eval questions`: what Python finds is stored and printed, stopped ones go on, and refusals are one line."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from genlip.cli.eval_mllm import _METRICS, _partial
from genlip.cli.main import main
from genlip.data.dialogues.questions import open_questions
from genlip.evaluate.questions.answers.metrics import METRICS
from genlip.evaluate.questions.measure import QuestionsConfig, measure_questions
from genlip.evaluate.result_files import read_results

from ..evaluate.questions.standin import Standin
from .test_eval import error_line


class Loaded:
    """Stands for `Assistant`: loads a model that says "yes", and remembers how it was loaded."""

    calls: list[tuple[str, dict]] = []

    @classmethod
    def load(cls, folder, **options):
        cls.calls.append((folder, options))
        return Standin(lambda dialogue: "yes")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of such a model."""
    module = ModuleType("genlip.mllm.assistant")
    module.Assistant = Loaded
    monkeypatch.setitem(sys.modules, "genlip.mllm.assistant", module)
    monkeypatch.setattr(Loaded, "calls", [])
    (tmp_path / "model").mkdir()
    return str(tmp_path / "model")


def test_metrics_are_those_that_there_are():
    assert tuple(METRICS) == _METRICS


def test_questions_says_and_stores_what_python_finds(folder, capsys):
    asked = ["--metric", "relaxed", "--limit", "20", "--without-images", "--dtype", "float32", "--max-tokens", "3"]
    assert main(["eval", "questions", folder, "documents:1", *asked]) == 0
    config = QuestionsConfig(metric="relaxed", without_images=True, max_tokens=3)
    expected = measure_questions(Standin(lambda dialogue: "yes"), open_questions("documents:1"), config, limit=20)
    (result,) = read_results(Path(folder) / "evaluations")
    assert result.identity == expected.identity
    assert result.outputs == expected.outputs
    assert {name: one.score for name, one in result.scores.items()} == {n: s.score for n, s in expected.scores.items()}
    assert Loaded.calls == [(folder, {"device": torch.device("cpu"), "dtype": torch.float32})]
    said = capsys.readouterr().out
    assert (
        f"relaxed accuracy{'':{max(map(len, result.scores)) - 16}}  {expected.scores['relaxed accuracy'].score:.4f}" in said
    )
    assert "20 questions" in said
    assert f"page of all results: genlip report {folder}" in said
    assert list((Path(folder) / "evaluations").glob("*.jsonl")) == [], "answers so far are removed at the end"
    assert main(["report", folder]) == 0
    assert "Questions about documents:1" in (Path(folder) / "evaluations/report.html").read_text(encoding="utf8")


def test_a_table_with_its_images_elsewhere(folder, tmp_path):
    row = {"image": "missing.png", "question": "Is it?", "answer": "Yes."}
    (tmp_path / "set.json").write_text(json.dumps([row]))
    (tmp_path / "images").mkdir()
    open_questions("charts:1")[0].images[0].save(tmp_path / "images/missing.png")
    asked = ["eval", "questions", folder, str(tmp_path / "set.json"), "--metric", "exact"]
    assert main([*asked, "--image-folder", str(tmp_path / "images"), "--prompt-suffix", ""]) == 0
    (result,) = read_results(Path(folder) / "evaluations")
    assert result.scores["exact match"].score == 1
    assert result.settings["prompt_suffix"] == ""


def test_answers_of_an_interrupted_measurement_are_found_whatever_does_not_change_them(monkeypatch, folder):
    found = []
    monkeypatch.setattr("genlip.cli.eval_mllm._partial", lambda args: (found.append(_partial(args)), found[-1])[1])
    asked = ["eval", "questions", folder, "charts:1", "--metric", "exact", "--limit", "2"]
    same = [[], ["--batch-size", "3"], ["--device", "cpu"], ["--threads", "2"], ["--without-images"], ["--other-images"]]
    others = [
        ["--max-tokens", "3"],
        ["--limit", "1"],
        ["--prompt-suffix", "a"],
        ["--dtype", "bfloat16"],
        ["--metric", "anls"],
    ]
    for more in (*same, *others):
        assert main([*asked, *more]) == 0
    assert len(set(found[: len(same)])) == 1
    assert len(set(found)) == 1 + len(others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["charts:1", "--metric", "exact", "--limit", "0"], "--limit is 0: it must be at least 1"),
        (["charts:1", "--metric", "exact", "--max-tokens", "-1"], "max_tokens -1 must be 0 or more"),
        (["closeups:1", "--metric", "exact"], "closeups:1: need one of"),
        (["missing.json", "--metric", "exact"], "missing.json: no such file"),
        (["charts:1", "--metric", "exact", "--device", "nonsense"], "--device nonsense"),
        (["charts:1", "--metric", "exact", "--out", "nowhere/there"], "--out nowhere/there: no such folder"),
    ],
)
def test_what_cannot_be_measured_is_one_line_before_a_model_is_loaded(arguments, message, folder, capsys):
    assert message in error_line(capsys, "eval", "questions", folder, *arguments)
    assert Loaded.calls == []


def test_an_unknown_metric_names_those_that_there_are(folder, capsys):
    for arguments in ([], ["--metric", "anslo"]):
        with pytest.raises(SystemExit):
            main(["eval", "questions", folder, "charts:1", *arguments])
    said = capsys.readouterr().err
    assert "missing: --metric" in said
    assert "need one of vqa, textvqa, anls" in said


def test_the_help_names_the_python_call(capsys):
    with pytest.raises(SystemExit):
        main(["eval", "questions", "--help"])
    assert "python: genlip.measure_questions(genlip.Assistant.load(FOLDER), DATA" in capsys.readouterr().out
