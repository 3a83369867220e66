"""`genlip eval lmms`: a table of finished results, and one line for what it cannot do."""

import json

import pytest

from genlip.cli.main import main

from ..evaluate.lmms.recorded import DOCVQA, whole_suite, write


def test_finished_results_become_a_table_beside_the_papers_rows(tmp_path, capsys):
    tasks = whole_suite()
    first = write(tmp_path / "a/first.json", {name: tasks[name] for name in list(tasks)[:7]})
    second = write(tmp_path / "b/20261128_152906_results.json", {name: tasks[name] for name in list(tasks)[7:]})
    out = tmp_path / "out"
    given = ["--suite", "paper14", "--results", str(first), str(second.parent), "--out", str(out)]
    assert main(["eval", "lmms", "my model", *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "my model: 14 benchmarks of GenLIP's frozen evaluation"
    assert lines[-1].split() == ["my", "model", "50.00", "69.00", "96.67", "65.43"]
    assert [line.split()[-1] for line in lines if line.startswith("SigLIP 2 g/16")] == ["61.5", "68.9"]
    assert json.loads((out / "scores.json").read_text())["averages"]["ALL AVG"] == pytest.approx(916 / 14)


def test_averages_over_fewer_tasks_are_refused_by_name(tmp_path, capsys):
    file = write(tmp_path / "x.json", {name: one for name, one in whole_suite().items() if name != "gqa"})
    assert main(["eval", "lmms", "--results", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no ALL AVG: no figure of gqa"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "missing FOLDER: need the folder of a multimodal LLM, or --results"),
        (["--results", "FILE", "--limit", "4"], "--limit is for a run of lmms-eval: leave it out with --results"),
        (["--results", "FILE", "--include-path", "x"], "--include-path is for a run of lmms-eval: leave it out"),
        (["--results", "FILE", "--suite", "cambrian"], "no suite cambrian: need one of the package"),
        (["--results", "nowhere.json"], "nowhere.json: no such file or folder"),
        (["nowhere"], "nowhere: need the folder of a multimodal LLM that genlip has written: it has no config.json"),
        (["nowhere", "--tasks", "docvqa"], "docvqa is no task of paper14; did you mean docvqa_val?"),
        (["nowhere", "--out", "x/y/z"], "--out x/y/z: no such folder"),
    ],
)
def test_what_it_cannot_do_is_one_line(words, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda program: program)
    write(tmp_path / "FILE", {"docvqa_val": (DOCVQA, 5, 5)})
    assert main(["eval", "lmms", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"genlip: {told}")
    assert error.count("\n") == 1
