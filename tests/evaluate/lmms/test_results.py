"""Results of lmms-eval: figures are found, and what would count twice or is of another model is refused."""

import json

import pytest

from genlip.evaluate.lmms.results import read_lmms_results, results_files

from .recorded import DOCVQA, MME, results, write


def test_figures_errors_and_questions_are_read(tmp_path):
    first = write(tmp_path / "a/20261128_152906_results.json", {"docvqa_val": (DOCVQA, 5349, 5349)})
    second = write(tmp_path / "b/mme.json", {"mme": (MME, 2374, 2374)}, dtype="other")
    found = read_lmms_results([tmp_path / "a", second])
    assert found.model == "/models/a"
    assert set(found.tasks) == {"docvqa_val", "mme"}
    docvqa, mme = found.tasks["docvqa_val"], found.tasks["mme"]
    assert (docvqa.figure("anls,none"), docvqa.error("anls,none"), docvqa.file) == (0.6, 0.02, first)
    assert (mme.figure("mme_perception_score,none"), mme.error("mme_perception_score,none")) == (1500.0, None)
    assert (docvqa.asked, docvqa.of, docvqa.is_whole) == (5349, 5349, True)


@pytest.mark.parametrize(
    ("asked", "config", "seen"),
    [(8.0, {"limit": 8.0}, 8), (20, {"offset": 3}, 17), (-1, {"limit": -1}, 20), (20, {}, 20)],
)
def test_a_part_of_the_questions_is_noticed(asked, config, seen, tmp_path):
    file = write(tmp_path / "x.json", {"docvqa_val": (DOCVQA, asked, 20)}, **config)
    task = read_lmms_results([file]).tasks["docvqa_val"]
    assert (task.asked, task.of, task.is_whole) == (seen, 20, seen == 20)


def test_a_task_on_local_data_counts_as_the_task(tmp_path):
    file = write(tmp_path / "x.json", {"docvqa_val_local": (DOCVQA, 5, 5)})
    assert set(read_lmms_results([file]).tasks) == {"docvqa_val"}


def test_groups_of_tasks_are_no_tasks(tmp_path):
    content = results({"docvqa_val": (DOCVQA, 5, 5)})
    content["results"]["docvqa"] = {"alias": "docvqa", "anls,none": 0.9}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert set(read_lmms_results([tmp_path / "x.json"]).tasks) == {"docvqa_val"}


def test_files_that_tasks_write_of_similar_names_are_no_results(tmp_path):
    own = write(tmp_path / "m/20261128_152906_results.json", {"docvqa_val": (DOCVQA, 5, 5)})
    for name in ("mmbench_en_dev_static_results.json", "textcaps_captions_val2014_alg_results.json"):
        (tmp_path / name).write_text("{}")
    assert results_files(tmp_path) == [own]


def test_a_task_that_stands_twice_is_refused_with_both_files(tmp_path):
    one = write(tmp_path / "one.json", {"docvqa_val": (DOCVQA, 5, 5)})
    two = write(tmp_path / "two.json", {"docvqa_val_local": (DOCVQA, 5, 5)})
    with pytest.raises(ValueError, match=f"^docvqa_val stands in {one} and in {two}: leave one out$"):
        read_lmms_results([one, two])


def test_results_of_two_models_are_refused(tmp_path):
    one = write(tmp_path / "one.json", {"docvqa_val": (DOCVQA, 5, 5)})
    two = write(tmp_path / "two.json", {"mme": (MME, 4, 4)}, model="/models/b")
    with pytest.raises(ValueError, match=f"^{two} is of /models/b, and {one} of /models/a: need results of one model$"):
        read_lmms_results([one, two])


def test_a_missing_figure_is_told_what_is_there(tmp_path):
    file = write(tmp_path / "x.json", {"docvqa_val": (DOCVQA | {"submission,none": None}, 5, 5)})
    task = read_lmms_results([file]).tasks["docvqa_val"]
    with pytest.raises(ValueError, match=r"^no figure acc,none, but anls,none, submission,none$"):
        task.figure("acc,none")
    with pytest.raises(ValueError, match=r"^submission,none is no number, but None$"):
        task.figure("submission,none")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "not results of lmms-eval: it is \\[\\]: it must be an object"),
        ("{}", "not results of lmms-eval: results is None: it must be an object"),
        ('{"results": {}, "n-samples": {}}', "config is None: it must be an object"),
        (
            '{"results": {"a": {}}, "n-samples": {"a": {}}, "config": {}}',
            "n-samples.a.original is None: it must be a whole num",
        ),
        ("{", "not JSON"),
    ],
)
def test_other_files_are_one_line_that_begins_with_the_file(content, told, tmp_path):
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"^{file}: .*{told}"):
        read_lmms_results([file])


def test_paths_without_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}: no file …_results\.json of lmms-eval in this folder$"):
        read_lmms_results([tmp_path])
    with pytest.raises(ValueError, match=r"no such file or folder$"):
        read_lmms_results([tmp_path / "nowhere"])
