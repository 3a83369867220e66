"""Letters: every planted answer as lmms-eval reads it by each of the three rules, and what they tell apart."""

import pytest

from genlip.evaluate.questions.answers.letters import LETTERS, ai2d_match, letter_found, most_telling, scienceqa_match
from tests.evaluate.questions.recorded import recorded

ROWS = recorded("letters")


def test_all_planted_answers_are_read_as_recorded():
    """Rows of answer, options, right option, AI2D's score, ScienceQA's, MMBench's letter, and that of its last resort."""
    for said, options, right, ai2d, scienceqa, found, telling in ROWS:
        assert ai2d_match(said, LETTERS[right]) == ai2d, said
        assert scienceqa_match(said, LETTERS[right]) == scienceqa, said
        assert letter_found(said, options) == found, said
        assert most_telling(said.strip(), LETTERS[: len(options)]) == telling, said


def test_the_planted_answers_tell_the_rules_apart():
    assert sum(row[3] != row[4] for row in ROWS) > 50
    assert sum(row[3] != (row[5] == LETTERS[row[2]]) for row in ROWS) > 300
    assert sum(row[5] != row[6] for row in ROWS) > 200


@pytest.mark.parametrize(
    ("said", "ai2d", "scienceqa", "found"),
    [
        ("B", 1, 1, "B"),
        ("b", 1, 1, ""),
        ("B. moon", 1, 1, "B"),
        ("(B)", 1, 0, "B"),
        ("B moon", 0, 0, "B"),
        ("The answer is B.", 0, 0, "B"),
        ("The moon.", 0, 0, "B"),
        ("A moon is what I see", 0, 0, "B"),
        ("A", 0, 0, "A"),
        ("none", 0, 0, ""),
    ],
)
def test_known_answers(said, ai2d, scienceqa, found):
    assert (ai2d_match(said, "B"), scienceqa_match(said, "B")) == (ai2d, scienceqa)
    assert letter_found(said, ["sun", "moon", "planet"]) == found


def test_more_options_than_mmbench_has_are_named_too():
    assert letter_found("G", ["one", "two", "three", "four", "five", "six", "seven"]) == "G"
