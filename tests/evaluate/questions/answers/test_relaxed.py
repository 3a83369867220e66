"""Relaxed accuracy: every planted answer as lmms-eval scores it, and the tolerance."""

import pytest

from genlip.evaluate.questions.answers.relaxed import relaxed_match
from tests.evaluate.questions.recorded import recorded


def test_all_planted_answers_score_as_recorded():
    rows = recorded("relaxed")
    assert [relaxed_match(said, answers) for said, answers, _ in rows] == [score for *_, score in rows]


@pytest.mark.parametrize(
    ("said", "true", "score"),
    [
        ("105", "100", 1),
        ("105.1", "100", 0),
        ("-95", "-100", 1),
        ("5%", "0.05", 1),
        ("5", "5%", 0),
        ("1000", "1,000", 0),
        ("0.0", "0", 0),
        ("Blue", "blue", 1),
        ("blue one", "blue", 0),
    ],
)
def test_known_answers(said, true, score):
    assert relaxed_match(said, [true]) == score
    assert relaxed_match(said, ["something else", true]) == score
