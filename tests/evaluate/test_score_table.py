"""Score words: numbers as they are read."""

import math

import pytest

from genlip.evaluate.score_table import (
    interval_words,
    number_words,
    score_table,
    set_words,
    settings_words,
    signed_words,
)
from genlip.evaluate.scores import Interval, Scores


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (1.0, "1.000"),
        (0.98765, "0.988"),
        (0.01, "0.010"),
        (0.00123, "0.0012"),
        (-0.5, "−0.500"),
        (-1e-4, "−0.0001"),
        (-1e-9, "0.000"),
        (7e-18, "0.000"),
    ],
)
def test_small_numbers_keep_two_digits_and_what_is_not_defined_is_a_dash(value, text):
    assert number_words(value) == text
    assert number_words(math.nan) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "+0.250"), (-0.25, "−0.250"), (0.0, "0.000"), (1e-9, "0.000"), (math.nan, "–")]
)
def test_differences_carry_their_sign(value, text):
    assert signed_words(value) == text


def test_an_interval_is_two_numbers_or_a_dash():
    assert interval_words(Interval(0.1, 0.25)) == "0.100 to 0.250"
    assert interval_words(Interval(math.nan, math.nan)) == "–"


def test_of_a_long_path_the_end_is_shown():
    assert set_words("scenes:1") == "scenes:1"
    assert set_words("/data/" + "x" * 60 + "/val.json") == "…" + "x" * 30 + "/val.json"


def test_settings_are_names_and_values():
    assert settings_words({"max_tokens": 5, "prompt": "", "seed": 0, "flag": False, "top": [1, 0.5], "of": {"a": 1.0}}) == (
        "max tokens 5, seed 0, flag False, top 1 / 0.5, of (a 1)"
    )
    assert settings_words("a machine") == "a machine"


def test_a_table_of_scores_says_what_they_are_where_that_is_known():
    scores = {"top-1": Scores.mean([1.0, 1.0]), "<other>": Scores.mean([0.5])}
    assert "what it is" not in score_table(scores)
    html = score_table(scores, {"top-1": "share that is right"})
    assert "<td>top-1</td><td>1.000</td><td>1.000 to 1.000</td><td><div>share that is right</div></td>" in html
    assert "<td>&lt;other&gt;</td><td>0.500</td><td>0.500 to 0.500</td><td><div></div></td>" in html
