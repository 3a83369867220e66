"""Running lmms-eval: a process for each task, failures that do not hide, and refusals before anything is started.

The tests have a stand-in of the program that writes files as lmms-eval 0.7.3 does; test_lmms_eval.py runs lmms-eval.
"""

import json
import sys

import pytest

from genlip.evaluate.lmms.run import local_tasks, measure_lmms
from genlip.extras import MissingExtra

from .recorded import results

PROGRAM = """
import json, pathlib, sys
words = sys.argv[1:]
given = dict(zip(words[::2], words[1::2])) if "--log_samples" not in words else {}
words.remove("--log_samples")
given = dict(zip(words[::2], words[1::2]))
out, task = pathlib.Path(given["--output_path"]), given["--tasks"]
print("first line")
if task == "gqa":
    print("ERROR - Error during evaluation: no connection. Please set `--verbosity=DEBUG` to get more information.")
    sys.exit(0)
(out.parent / f"called-{task}.json").write_text(json.dumps(given))
stored = json.loads((pathlib.Path(__file__).parent / "stored.json").read_text())
for part in ("results", "n-samples"):
    stored[part] = {task: stored[part][task.removesuffix("_local")]}
(out / "models__a").mkdir()
(out / "models__a/20261128_152906_results.json").write_text(json.dumps(stored))
(out / "submissions").mkdir()
(out / "submissions/mmbench_en_dev_static_results.json").write_text("{}")
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    return tmp_path / "model"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """An `lmms_eval` for this process and those that it starts; figures are those of `recorded`, of 100 questions each."""
    from .recorded import whole_suite

    package = tmp_path / "path/lmms_eval"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    (package / "stored.json").write_text(json.dumps(results(whole_suite(), model=str(tmp_path / "model"))))
    about = tmp_path / "path/lmms_eval-0.7.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lmms_eval\nVersion: 0.7.3\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lmms_eval"]:
        monkeypatch.delitem(sys.modules, name)
    return package


def called(place, task):
    return json.loads((place / f"called-{task}.json").read_text())


def test_each_task_runs_in_a_process_of_its_own(model, stand_in):
    seen = []
    scores = measure_lmms(
        model, tasks=["mme", "docvqa_val"], batch_size=3, device="cpu", started=lambda task, file: seen.append(task.task)
    )
    place = model / "evaluations/lmms.paper14"
    assert seen == ["docvqa_val", "mme"]
    assert {name: score.value for name, score in scores.tasks.items()} == {"docvqa_val": 60.0, "mme": 70.0}
    assert (scores.model, scores.version) == (str(model), "0.7.3")
    assert called(place, "mme") == {
        "--model": "genlip",
        "--tasks": "mme",
        "--model_args": f"pretrained={model},dtype=auto",
        "--batch_size": "3",
        "--device": "cpu",
        "--output_path": str(place / "mme.partial"),
    }
    assert json.loads((place / "scores.json").read_text()) == json.loads(json.dumps(scores.to_json()))
    assert (place / "mme/log.txt").read_text() == "first line\n"
    assert not list(place.glob("*.partial"))


def test_a_task_that_fails_is_named_with_its_reason_and_the_others_stand(model, stand_in, caplog):
    scores = measure_lmms(model)
    log = model / "evaluations/lmms.paper14/gqa.partial/log.txt"
    told = f"lmms-eval wrote no results (exit status 0): no connection; see {log}"
    assert scores.missing == {"gqa": told}
    assert caplog.messages == [f"gqa: {told}"]
    assert len(scores.tasks) == 13
    with pytest.raises(ValueError, match=r"^no ALL AVG: no figure of gqa$"):
        scores.average()
    assert scores.average("OCR") == pytest.approx(50)
    with pytest.raises(ValueError, match=r"^no task of paper14 was measured: lmms-eval wrote no results .*no connection"):
        measure_lmms(model, tasks=["gqa"])


def test_old_results_of_a_task_stay_when_it_fails_and_go_when_it_does_not(model, stand_in):
    place = model / "evaluations/lmms.paper14"
    for task in ("gqa", "mme"):
        (place / task).mkdir(parents=True)
        (place / task / "old").touch()
    measure_lmms(model, tasks=["gqa", "mme"])
    assert (place / "gqa/old").is_file()
    assert not (place / "mme/old").exists()


def test_a_trial_has_a_folder_of_its_own(model, stand_in, tmp_path):
    measure_lmms(model, tasks=["mme"], limit=8)
    place = model / "evaluations/lmms.paper14.first-8"
    assert called(place, "mme")["--limit"] == "8"
    measure_lmms(model, tasks=["mme"], out=tmp_path / "other", dtype="float32")
    assert called(tmp_path / "other", "mme")["--model_args"].endswith(",dtype=float32")


def test_task_files_of_ones_own_take_the_place_of_the_suites(model, stand_in, tmp_path):
    """Under another name: lmms-eval silently prefers its own task of the same name."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "mine.yaml").write_text('include: x.yaml\ntask: "docvqa_val"\n')
    scores = measure_lmms(model, tasks=["docvqa_val", "mme"], include_path=folder)
    place = model / "evaluations/lmms.paper14"
    assert scores.tasks["docvqa_val"].value == 60.0
    given = called(place, "docvqa_val_local")
    assert given["--include_path"] == str(place / "docvqa_val.partial/task")
    written = (place / "docvqa_val/task/docvqa_val_local.yaml").read_text()
    assert written == f'include: "{folder}/mine.yaml"\ntask: docvqa_val_local\n'
    assert "--include_path" not in called(place, "mme")


def test_task_files_are_found_by_their_task(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/any.yaml").write_text("dataset_path: json\ntask: mme_local\n")
    (tmp_path / "gqa.yaml").write_text("include: x\n")
    (tmp_path / "other.yaml").write_text("task: textvqa_val\n")
    assert local_tasks(tmp_path, ["mme", "gqa", "ai2d"]) == {
        "mme": tmp_path / "inner/any.yaml",
        "gqa": tmp_path / "gqa.yaml",
    }
    with pytest.raises(ValueError, match=r": no \.yaml file of the tasks ai2d in this folder$"):
        local_tasks(tmp_path, ["ai2d"])
    (tmp_path / "z.yaml").write_text("task: 'gqa'\n")
    with pytest.raises(ValueError, match=r"z\.yaml and .*gqa\.yaml are both of the task gqa: leave one out$"):
        local_tasks(tmp_path, ["gqa"])


@pytest.mark.parametrize(
    ("suite", "task", "reason"),
    [
        ("paper14", "textcaps_val", "needs Java for the tokenizer of CIDEr: install it, so that the command java runs"),
        ("cambrian16", "mathvista_testmini_format", "needs a language model that judges answers: set OPENAI_API_KEY"),
    ],
)
def test_a_task_whose_needs_are_not_here_is_left_out_or_refused_if_named(
    suite, task, reason, model, stand_in, monkeypatch, caplog
):
    monkeypatch.setattr("shutil.which", lambda program: None)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("AZURE_API_KEY", raising=False)
    with pytest.raises(ValueError, match=f"^{task} {reason}$"):
        measure_lmms(model, suite, tasks=["docvqa_val", task])
    scores = measure_lmms(model, "paper14")
    if suite == "paper14":
        assert scores.missing[task] == reason
        assert f"{task} is left out: it {reason}" in caplog.messages


def test_what_cannot_be_run_is_refused_before_anything_starts(model, stand_in, tmp_path):
    with pytest.raises(ValueError, match=r"^limit is 7: mme asks questions in pairs, it must be even$"):
        measure_lmms(model, limit=7)
    with pytest.raises(ValueError, match=r"^limit is 0: it must be at least 1$"):
        measure_lmms(model, limit=0)
    with pytest.raises(ValueError, match=r"^processes is 0: it must be at least 1$"):
        measure_lmms(model, processes=0)
    with pytest.raises(ValueError, match=r"^vqa is no task of paper14"):
        measure_lmms(model, tasks=["vqa"])
    with pytest.raises(ValueError, match=r"has no config\.json$"):
        measure_lmms(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "genlip"}')
    with pytest.raises(ValueError, match=r" holds a GenLIP, which answers no questions: need a multimodal LLM"):
        measure_lmms(tmp_path)
    bad = tmp_path / "a,b"
    model.rename(bad)
    with pytest.raises(ValueError, match=r"a,b: lmms-eval cannot take a path with ,: rename the folder$"):
        measure_lmms(bad)
    assert not (bad / "evaluations").exists()


def test_without_lmms_eval_one_line_says_how_to_get_it(model, monkeypatch):
    monkeypatch.setattr("genlip.evaluate.lmms.run.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    with pytest.raises(
        MissingExtra, match=r"^lmms-eval is not installed here: run `make lmms` and use \.venv/lmms/bin/genlip"
    ):
        measure_lmms(model)
