"""Suites: those of the package say what the paper says, and name figures that lmms-eval has; damaged ones are refused."""

from pathlib import Path

import pytest
import yaml

from genlip.evaluate.lmms.suite import read_suite, suite_names

from .recorded import FIGURES

CAMBRIAN = {
    "General": {"mme", "mmbench_en_dev_static", "seedbench", "gqa"},
    "Knowledge": {"scienceqa_img", "mmmu_val", "mathvista_testmini_format", "ai2d"},
    "OCR & Chart": {"chartqa", "ocrbench", "textvqa_val", "docvqa_val"},
    "Vision-Centric": {"mmvp", "realworldqa", "cv_bench_2d", "cv_bench_3d"},
}
PAPER = {  # arXiv 2605.00809: ALL AVG by language model, in the order L, So, g
    ("GenLIP", "Qwen2.5-1.5B-Instruct"): [61.5, 62.6, 65.2],
    ("SigLIP 2", "Qwen2.5-1.5B-Instruct"): [58.7, 60.6, 61.5],
    ("GenLIP", "Qwen2.5-7B-Instruct"): [69.0, 71.8, 73.6],
    ("SigLIP 2", "Qwen2.5-7B-Instruct"): [69.4, 68.9],
}


def groups(suite):
    return {group: {task.task for task in suite.tasks if task.group == group} for group in suite.groups}


def test_paper14_is_the_papers_list_with_its_rows():
    suite = read_suite("paper14")
    assert {task.task: task.figure for task in suite.tasks} == {task: key for task, (key, _) in FIGURES.items()}
    assert {name: len(tasks) for name, tasks in groups(suite).items()} == {"OCR": 7, "VQA": 4, "CAP": 3}
    assert groups(suite)["VQA"] == {"vqav2_val", "gqa", "scienceqa_img", "mme"}
    found = {}
    for row in suite.rows:
        found.setdefault((row.encoder.rpartition(" ")[0], row.language_model), []).append(row.all)
    assert found == PAPER


def test_cambrian16_has_four_groups_of_four():
    suite = read_suite("cambrian16")
    assert groups(suite) == CAMBRIAN
    assert [task.task for task in suite.tasks if task.needs == "judge"] == ["mathvista_testmini_format"]


def test_every_suite_of_the_package_is_read_and_its_name_is_its_files():
    assert suite_names() == ["cambrian16", "paper14"]
    assert [read_suite(name).name for name in suite_names()] == suite_names()


@pytest.mark.parametrize("name", ["paper14", "cambrian16"])
def test_lmms_eval_has_the_tasks_and_their_figures(name):
    lmms_eval = pytest.importorskip("lmms_eval")
    from lmms_eval.utils import load_yaml_config

    known = {}
    for file in (Path(lmms_eval.__file__).parent / "tasks").glob("*/*.yaml"):
        config = load_yaml_config(str(file), mode="simple")
        if isinstance(config.get("task"), str):
            known[config["task"]] = config
    for task in read_suite(name).tasks:
        config = known[task.task]
        filters = [one["name"] for one in config.get("filter_list") or [{"name": "none"}]]
        assert task.figure in {f"{one['metric']},{by}" for one in config["metric_list"] for by in filters}, task.task
        assert config["output_type"] == "generate_until" if "output_type" in config else True
        settings = set(config.get("generation_kwargs") or {})
        assert settings <= {
            "max_new_tokens",
            "temperature",
            "do_sample",
            "top_p",
            "num_beams",
            "until",
            "image_aspect_ratio",
        }


def test_some_tasks_are_chosen_in_the_order_of_the_suite():
    suite = read_suite("paper14")
    assert [task.task for task in suite.chosen(["mme", "chartqa"])] == ["chartqa", "mme"]
    assert suite.chosen() == suite.tasks
    with pytest.raises(ValueError, match=r"^docvqa is no task of paper14; did you mean docvqa_val\?$"):
        suite.chosen(["docvqa"])
    with pytest.raises(ValueError, match=r"^zzz is no task of paper14; the tasks are chartqa, .*, textcaps_val$"):
        suite.chosen(["zzz"])


def test_a_name_that_is_no_suite_is_told_the_suites():
    with pytest.raises(
        ValueError, match=r"^no suite paper: need one of the package or a .yaml file; did you mean paper14\?$"
    ):
        read_suite("paper")


TASK = {"task": "a", "title": "A", "group": "G", "figure": "acc,none", "scale": 100}
OWN = {"name": "mine", "title": "Mine", "groups": ["G"], "tasks": [TASK]}


def test_a_suite_of_ones_own_is_read_from_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(OWN))
    suite = read_suite(tmp_path / "mine.yaml")
    assert (suite.name, suite.tasks[0].scale, suite.tasks[0].needs, suite.rows) == ("mine", 100.0, "", ())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tasks": []}, "tasks is .*: need at least one"),
        ({"tasks": [TASK, TASK | {"title": "B"}]}, "the task a stands twice"),
        ({"groups": ["H"]}, "the group 'G' is not one of H"),
        ({"tasks": [TASK | {"scale": "x"}]}, "scale is 'x': it must be a finite number"),
        ({"tasks": [TASK | {"needs": "gpu"}]}, "needs is 'gpu': it must be '' or 'java' or 'judge'"),
        ({"tasks": [{"task": "a"}]}, r"tasks\[0\] has no 'title'"),
        ({"tasks": [TASK | {"metric": 1}]}, r"tasks\[0\] has the unknown key 'metric'"),
        ({"rows": [{"encoder": "e", "language_model": "l", "all": 1, "groups": {"Z": 2}}]}, "the group 'Z' is not one of G"),
        ({"more": 1}, "it has the unknown key 'more'"),
    ],
)
def test_a_damaged_suite_is_one_line_with_its_file(change, told, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(OWN | change))
    with pytest.raises(ValueError, match=f"^{file}: not a suite: .*{told}"):
        read_suite(file)
