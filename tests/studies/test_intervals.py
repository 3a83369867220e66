"""Intervals over seeds and images: against the textbook where one part is absent, and their coverage."""

import math

import numpy as np
import pytest

from genlip.evaluate.scores import Scores
from genlip.studies.intervals import mean_difference, mean_interval, student_t


def constant(value, images=50):
    return Scores.mean([value] * images)


def test_the_factor_is_that_of_the_tables():
    table = {1: 12.706, 2: 4.303, 10: 2.228, 15: 2.131, 30: 2.042, 120: 1.980}
    for degrees, value in table.items():
        assert student_t(degrees) == pytest.approx(value, rel=0.003)
    assert student_t(0) == 0


def test_without_noise_of_images_it_is_students_interval():
    values = [0.5, 0.6, 0.7]
    found = mean_interval([constant(value) for value in values])
    half = 4.303 * np.std(values, ddof=1) / math.sqrt(3)
    assert found == pytest.approx((0.6, 0.6 - half, 0.6 + half))


def test_with_one_seed_it_is_the_bootstrap_over_images():
    scores = Scores.mean(np.random.default_rng(0).random(200).tolist())
    low, high = scores.interval()
    assert mean_interval([scores]) == pytest.approx((scores.score, low, high), abs=1e-9)


def test_the_difference_has_welchs_degrees_of_freedom():
    first, second = [0.1, 0.2, 0.3], [0.50, 0.52, 0.54]
    found = mean_difference(*([constant(value) for value in some] for some in (first, second)))
    errors = [np.var(some, ddof=1) / 3 for some in (first, second)]
    degrees = int(sum(errors) ** 2 / sum(error**2 / 2 for error in errors))
    half = student_t(degrees) * math.sqrt(sum(errors))
    assert found == pytest.approx((0.32, 0.32 - half, 0.32 + half))
    assert found.beyond_noise == (half < 0.32)


def test_images_that_are_hard_for_both_are_no_noise():
    hard = np.random.default_rng(0).random(200)
    found = mean_difference([Scores.mean(hard.tolist())], [Scores.mean((hard + 0.1).tolist())])
    assert found == pytest.approx((0.1, 0.1, 0.1), abs=1e-9)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw, inside, times = np.random.default_rng(1), 0, 200
    for _ in range(times):
        arms = [[constant(value, 2) for value in draw.normal(mean, 0.1, 3)] for mean in (0.3, 0.5)]
        found = mean_difference(*arms)
        inside += found.low <= 0.2 <= found.high
    assert 0.92 * times <= inside <= times


def test_other_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="numbers of images"):
        mean_difference([constant(1, 3)], [constant(1, 4)])
