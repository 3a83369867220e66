"""Findings: those of runs that follow a planted law, and what is refused of smaller grids."""

import numpy as np
import pytest

from genlip.studies.scaling import ScalingRun
from genlip.studies.scaling_findings import scaling_findings
from genlip.studies.scaling_page import scaling_lines

BUDGETS = [1e13, 3e13, 1e14, 3e14, 1e15]


def runs(budgets, sizes=5, seeds=3, noise=0.002, bend=1.0, draw=0):
    """Runs whose best loss is 0.3 + (C / 1e14)^-0.2, at sizes around 1e6 · (C / 1e14)^0.5; `bend` changes the last one."""
    draw, found = np.random.default_rng(draw), []
    for budget in budgets:
        lowest = (0.3 + (budget / 1e14) ** -0.2) * (bend if budget == budgets[-1] else 1)
        best = 1e6 * (budget / 1e14) ** 0.5
        for width, size in enumerate(best * np.geomspace(0.25, 4, sizes)):
            for seed in range(seeds):
                loss = lowest * (1 + 0.05 * np.log(size / best) ** 2) * np.exp(draw.normal(0, noise))
                found.append(ScalingRun(width, round(size), seed, budget, budget, 1, loss, 1.0, {}, ""))
    return found


def test_a_prediction_of_a_planted_law_holds_almost_always():
    checks = [scaling_findings(runs(BUDGETS, draw=draw)).check for draw in range(8)]
    assert sum(check.holds for check in checks) >= 6


def test_a_planted_law_is_found():
    found = scaling_findings(runs(BUDGETS))
    assert found.law.exponent.value == pytest.approx(0.2, abs=0.04)
    assert found.law.floor.value == pytest.approx(0.3, abs=0.05)  # such runs give a deviation of 0.013
    assert found.law.error < found.rival.error
    assert found.size[0] == pytest.approx(0.5, abs=0.03)
    assert all(one.interior for one in found.minima)
    assert not found.refused
    assert any("Check: without the largest budget" in line for line in scaling_lines(found))


def test_a_prediction_that_fails_is_said_to_fail():
    found = scaling_findings(runs(BUDGETS, bend=1.2))
    assert not found.check.holds
    assert any("differ by more" in line for line in scaling_lines(found))


def test_small_grids_say_what_they_cannot_show():
    found = scaling_findings(runs([1e13, 1e14], sizes=3))
    assert found.law is None
    assert found.check is None
    assert found.size is None
    text = " ".join(found.refused)
    assert "a minimum needs at least 4" in text
    assert "No law with a floor" in text
    assert "No check" in text


def test_one_seed_gives_no_law_and_no_check():
    found = scaling_findings(runs(BUDGETS, seeds=1))
    assert found.law is None
    assert found.check is None
    assert all(one.interior for one in found.minima)
    assert "one seed says nothing about others" in " ".join(found.refused)


def test_a_run_without_a_finite_loss_is_left_out():
    some = runs([1e13, 1e14, 1e15])
    broken = some[0]._replace(loss=float("inf"))
    assert scaling_findings([broken, *some[1:]]).best == scaling_findings(some[1:]).best
