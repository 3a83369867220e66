"""Scaling laws: planted ones are found again."""

import numpy as np
import pytest

from genlip.studies.scaling_law import bootstrap, fit_exponent, fit_power_law, iso_flop_minimum, residuals

WORK = np.geomspace(1e12, 1e16, 7)


@pytest.mark.parametrize("floor", [0.0, 0.4, 1.7])
def test_a_planted_law_is_found(floor):
    loss = floor + 2.5 * (WORK / 1e14) ** -0.21
    law = fit_power_law(WORK, loss)
    assert law.floor == pytest.approx(floor, abs=1e-3)
    assert law.exponent == pytest.approx(0.21, rel=1e-2)
    np.testing.assert_allclose(law(1e18), floor + 2.5 * 1e4**-0.21, rtol=1e-2)
    assert np.abs(residuals(law, WORK, loss)).max() < 1e-3


def test_the_rival_has_no_floor():
    law = fit_power_law(WORK, 3 * (WORK / 1e14) ** -0.1, floor=False)
    assert (law.floor, law.exponent) == pytest.approx((0, 0.1))
    worse = fit_power_law(WORK, 1 + 3 * (WORK / 1e14) ** -0.1, floor=False)
    assert np.abs(residuals(worse, WORK, 1 + 3 * (WORK / 1e14) ** -0.1)).max() > 0.005


def test_intervals_hold_the_planted_numbers_as_often_as_they_say():
    draw, inside, times = np.random.default_rng(0), np.zeros(2), 60
    work = np.repeat(WORK, 4)
    groups = [[[4 * n + k] for k in range(4)] for n in range(len(WORK))]
    for _ in range(times):
        loss = (0.5 + 2 * (work / 1e14) ** -0.2) * np.exp(draw.normal(0, 0.01, len(work)))

        def fit(numbers, loss=loss):
            law = fit_power_law(work[numbers], loss[numbers])
            return law.floor, law.exponent

        bands = bootstrap(groups, fit, resamples=100)
        inside += [band.low <= truth <= band.high for band, truth in zip(bands, (0.5, 0.2), strict=True)]
    assert (inside >= 0.85 * times).all()
    assert (inside < times).any()  # they are not so wide that they say nothing


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="run more seeds"):
        bootstrap([[[0, 1]], [[2, 3]]], lambda numbers: [0.0])


def test_runs_of_a_chain_are_drawn_together():
    drawn = []
    bootstrap([[[0, 1], [2, 3]], [[4, 5], [6, 7]]], lambda numbers: drawn.append(numbers) or [0.0], resamples=20)
    for numbers in drawn[1:]:
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        assert all(second == first + 1 for first, second in pairs)
        assert [first < 4 for first, _ in pairs] == [True, True, False, False]


def test_a_minimum_over_sizes_is_found_if_it_is_interior():
    sizes = np.array([1e6, 2e6, 4e6, 8e6, 16e6])
    loss = 1 + 0.1 * (np.log(sizes) - np.log(5e6)) ** 2
    found = iso_flop_minimum(1e15, sizes, loss)
    assert (found.parameters, found.loss, found.interior) == pytest.approx((5e6, 1, True))
    assert not iso_flop_minimum(1e15, sizes, 1 + 0.1 * (np.log(sizes) - np.log(15e6)) ** 2).interior
    assert not iso_flop_minimum(1e15, sizes, 1 - 0.1 * (np.log(sizes) - np.log(5e6)) ** 2).interior


def test_the_exponent_of_the_best_size():
    assert fit_exponent([1e12, 1e14, 1e16], [1e6, 1e7, 1e8])[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_power_law([1, 2], [1, 1]), "2 budgets: a law with 3"),
        (lambda: fit_power_law([1, 2, 3], [1, 1, -1]), "positive"),
        (lambda: iso_flop_minimum(1, [1, 2, 3], [1, 1, 1]), "needs at least 4"),
        (lambda: fit_exponent([1, 1], [1, 1]), "at least 2"),
    ],
)
def test_too_few_points_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
