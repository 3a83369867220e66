"""Numbers read: worked by hand."""

import math

import pytest

from genlip.evaluate.captioning.numbers_read import numbers_in, numbers_read


def test_numbers_are_runs_of_digits():
    assert numbers_in("Tea 12, No. 007; 3.5 and a1b22") == ["12", "007", "3", "5", "1", "22"]
    assert numbers_in("none") == []


@pytest.mark.parametrize(
    ("spoken", "true", "right", "numbers"),
    [
        ("tea 12 milk 30", "tea 12 milk 30", 2, 2),
        ("sugar 12 and 30", "tea 12 milk 30", 2, 2),  # only numbers count
        ("12", "tea 12 milk 30", 1, 2),
        ("30", "tea 12 milk 30", 0, 2),  # in its place, not somewhere
        ("12 12 30", "12 30", 1, 2),
        ("012", "12", 0, 1),
        ("", "1 2 3", 0, 3),
        ("12", "no number", 0, 0),
    ],
)
def test_a_number_counts_in_its_place_and_to_the_digit(spoken, true, right, numbers):
    assert numbers_read([spoken], [[true]]).evidence.tolist() == [[right, numbers]]


def test_of_several_true_captions_the_one_that_is_read_best_counts():
    assert numbers_read(["1 2"], [["no number", "1 3 2", "1 2", "1"]]).evidence.tolist() == [[2, 2]]
    assert numbers_read(["9"], [["1", "1 2 3"]]).evidence.tolist() == [[0, 3]]


def test_the_score_of_a_set_divides_sums():
    scores = numbers_read(["1 2 3", "x", "5"], [["1 2 4"], ["y"], ["6"]])
    assert scores.score == 2 / 4
    assert math.isnan(scores.per_image[1])


def test_captions_without_references_are_refused():
    with pytest.raises(ValueError, match="image 0 has no references"):
        numbers_read(["1"], [[]])
