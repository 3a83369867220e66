"""ANLS: every planted answer as lmms-eval scores it, and answers whose score is known."""

import pytest

from genlip.evaluate.questions.answers.anls import anls
from tests.evaluate.questions.recorded import recorded


def test_all_planted_answers_score_as_recorded():
    rows = recorded("anls")
    assert [anls(said, answers) for said, answers, _ in rows] == [score for *_, score in rows]


@pytest.mark.parametrize(
    ("said", "answers", "score"),
    [
        ("abcd", ["abcd"], 1),
        ("abcx", ["abcd"], 0.75),
        ("abxx", ["abcd"], 0.5),
        ("axxx", ["abcd"], 0),
        ("ABCX", ["nothing", "abcd"], 0.75),
        ("", [""], 1),
        ("", ["a"], 0),
    ],
)
def test_known_answers(said, answers, score):
    assert anls(said, answers) == score
