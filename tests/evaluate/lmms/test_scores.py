"""Scores of a suite: scales and averages against a calculation by hand; an average over fewer tasks is refused by name."""

import json
from dataclasses import replace

import pytest

from genlip.evaluate.lmms.results import read_lmms_results
from genlip.evaluate.lmms.scores import suite_scores, suite_table
from genlip.evaluate.lmms.suite import SuiteRow, read_suite

from .recorded import DOCVQA, GROUPS, MME, whole_suite, write

SUITE = read_suite("paper14")


def scored(folder, tasks, model="mine"):
    return suite_scores(SUITE, read_lmms_results([write(folder / "x.json", tasks)]), model)


def test_averages_are_those_by_hand(tmp_path):
    scores = scored(tmp_path, whole_suite())
    assert scores.tasks["mme"].value == 70.0  # 1400 / 2000 · 100
    assert scores.tasks["coco2017_cap_val"].value == pytest.approx(110.0)
    for group, mean in GROUPS.items():
        assert scores.average(group) == pytest.approx(mean)
    assert scores.average() == pytest.approx((350 + 276 + 290) / 14)
    assert scores.averages() == pytest.approx(GROUPS | {"ALL AVG": 916 / 14})


def test_a_missing_task_refuses_its_group_and_the_whole_by_name(tmp_path):
    tasks = whole_suite()
    del tasks["gqa"], tasks["nocaps_val"]
    scores = scored(tmp_path, tasks)
    assert scores.average("OCR") == pytest.approx(50)
    with pytest.raises(ValueError, match=r"^no average of VQA: no figure of gqa$"):
        scores.average("VQA")
    with pytest.raises(ValueError, match=r"^no ALL AVG: no figure of gqa, nocaps_val$"):
        scores.average()
    assert {name for name, value in scores.averages().items() if value is None} == {"VQA", "CAP", "ALL AVG"}


def test_a_part_of_the_questions_gives_no_average(tmp_path):
    scores = scored(tmp_path, whole_suite() | {"docvqa_val": (DOCVQA, 8, 5349)})
    with pytest.raises(ValueError, match=r"^no ALL AVG: docvqa_val only of the first questions$"):
        scores.average()
    assert scores.tasks["docvqa_val"].value == 60.0
    assert scores.average("CAP") == pytest.approx(290 / 3)


def test_a_part_of_mme_and_ocrbench_gives_no_figure_at_all(tmp_path):
    scores = scored(tmp_path, whole_suite() | {"mme": (MME, 8, 2374)})
    assert "mme" not in scores.tasks
    assert scores.missing == {"mme": "8 of 2,374 questions give no figure"}


def test_a_figure_that_is_not_there_is_a_missing_task_with_its_reason(tmp_path):
    scores = scored(tmp_path, whole_suite() | {"gqa": ({"accuracy,none": 0.5}, 9, 9)})
    assert scores.missing == {"gqa": "no figure exact_match,none, but accuracy,none"}


def test_the_interval_is_1_96_standard_errors_in_the_same_scale(tmp_path):
    scores = scored(tmp_path, {"docvqa_val": (DOCVQA, 9, 9), "mme": (MME, 9, 9)})
    assert scores.tasks["docvqa_val"].margin == pytest.approx(100 * 1.96 * 0.02)
    assert scores.tasks["mme"].margin is None


def test_the_table_of_a_whole_suite(tmp_path):
    lines = suite_table(scored(tmp_path, whole_suite() | {"docvqa_val": (DOCVQA, 5349, 5349)})).splitlines()
    assert lines[0] == "mine: 14 benchmarks of GenLIP's frozen evaluation"
    assert "OCR    DocVQA             60.00   ± 3.92         5,349" in lines
    assert "VQA    MME-P              70.00                  100" in lines
    assert [line.split() for line in lines if line.startswith(("encoder", "GenLIP g/16", "mine "))] == [
        ["encoder", "language", "model", "OCR", "VQA", "CAP", "ALL", "AVG"],
        ["GenLIP", "g/16", "Qwen2.5-1.5B-Instruct", "–", "–", "–", "65.2"],
        ["GenLIP", "g/16", "Qwen2.5-7B-Instruct", "–", "–", "–", "73.6"],
        ["mine", "50.00", "69.00", "96.67", "65.43"],
    ]
    assert not [line for line in lines if line.startswith("no ")]


def test_the_table_says_what_is_missing_and_why_there_is_no_average(tmp_path):
    table = suite_table(scored(tmp_path, {"docvqa_val": (DOCVQA, 8, 5349), "mme": (MME, 8, 2374)}))
    assert "OCR    DocVQA             60.00  ± 3.92         first 8 of 5,349\n" in table
    assert "VQA    MME-P              –                     8 of 2,374 questions give no figure\n" in table
    assert "CAP    COCO               –                     not in the results\n" in table
    assert table.splitlines()[-2] == "no average of CAP: no figure of nocaps_val, coco2017_cap_val, textcaps_val"
    assert table.splitlines()[-1].startswith("no ALL AVG: no figure of chartqa, ocrbench, textvqa_val, ")


def test_published_averages_of_groups_are_shown_where_they_are(tmp_path):
    row = SuiteRow(encoder="theirs", language_model="LM", all=50.0, groups={"OCR": 40.0})
    suite = replace(SUITE, rows=(row,))
    scores = suite_scores(suite, read_lmms_results([write(tmp_path / "x.json", whole_suite())]))
    assert "theirs     LM              40.0   –      –      50.0" in suite_table(scores)
    assert scores.model == "/models/a"


def test_the_json_holds_everything(tmp_path):
    stored = json.loads(json.dumps(scored(tmp_path, {"docvqa_val": (DOCVQA, 9, 9)}).to_json()))
    assert stored["tasks"] == {"docvqa_val": {"value": 60.0, "margin": pytest.approx(3.92), "asked": 9, "of": 9}}
    assert (stored["suite"], stored["averages"]["ALL AVG"]) == ("paper14", None)
    assert stored["missing"]["mme"] == "not in the results"
