"""Metrics: each scores a question by its own rule."""

import pytest

from genlip.data.dialogues.question import Question
from genlip.evaluate.questions.answers.metrics import METRICS, letter_named

OPEN = Question("q", (), "How many?", ("45%",) * 10)
CHOICE = Question("q", (), "Which?", ("moon",), ("sun", "moon"), 1)


@pytest.mark.parametrize(
    ("name", "said", "scores"),
    [
        ("vqa", "45%", 1),
        ("textvqa", "45?%", 1),
        ("vqa", "45?%", 0),
        ("anls", "46%", 2 / 3),
        ("relaxed", "0.46", 1),
        ("exact", "45", 1),
        ("letters", "(b)", 1),
        ("scienceqa", "(b)", 0),
        ("scienceqa", "B.", 1),
    ],
)
def test_each_metric_has_its_own_rule(name, said, scores):
    metric = METRICS[name]
    assert metric.score(said, CHOICE if metric.with_options else OPEN) == pytest.approx(scores)


def test_a_letter_is_named_anywhere():
    assert [letter_named(said, CHOICE) for said in ("It is B", "It is (A)", "a moon")] == [1, 0, 1]
