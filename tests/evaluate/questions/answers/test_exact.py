"""Exact match: every planted answer as lmms-eval scores it, and what counts."""

import pytest

from genlip.evaluate.questions.answers.exact import exact_match
from tests.evaluate.questions.recorded import recorded


def test_all_planted_answers_score_as_recorded():
    rows = recorded("exact")
    assert [exact_match(said, answers) for said, answers, _ in rows] == [score for *_, score in rows]


@pytest.mark.parametrize(
    ("said", "score"), [("Red.", 1), (" red ", 1), ("r-e-d", 1), ("red light", 0), ("the red", 0), ("red -", 0), ("", 0)]
)
def test_known_answers(said, score):
    assert exact_match(said, ["red"]) == score
    assert exact_match(said, ["blue", "red"]) == score
