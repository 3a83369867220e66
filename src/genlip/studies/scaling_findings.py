"""Findings of a scaling study: what the losses of a grid say about larger budgets, and whether that held.

In: runs. Out: `ScalingFindings`: isoFLOP minima, a law with intervals beside its rival, the best size for each budget, and
the check: a law without the largest budget, compared with what was reached there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genlip.studies.scaling import ScalingRun
from genlip.studies.scaling_law import (
    Band,
    IsoFlop,
    PowerLaw,
    bootstrap,
    fit_exponent,
    fit_power_law,
    iso_flop_minimum,
    residuals,
)

__all__ = ["Check", "Law", "ScalingFindings", "scaling_findings"]


class Law(NamedTuple):
    """A fitted law with the intervals of its numbers, and the root mean square of its residuals of log L."""

    law: PowerLaw
    floor: Band
    exponent: Band
    error: float


class Check(NamedTuple):
    """The largest budget, which the law did not see: what it predicts there, and the lowest loss that was reached."""

    work: float
    predicted: Band
    reached: Band

    @property
    def holds(self) -> bool:
        """Whether the two differ by no more than their intervals allow, added as squares."""
        higher, lower = sorted((self.predicted, self.reached), key=lambda band: -band.value)
        return higher.value - lower.value <= math.hypot(higher.value - higher.low, lower.high - lower.value)


class ScalingFindings(NamedTuple):
    """What a study found; a part is None where the grid is too small for it, and `refused` says why.

    Attributes:
        best: work and lowest loss of each budget.
        minima: of the budgets with enough sizes; those that are not interior are no findings.
        law: L∞ + A·C^-α of `best`.
        rival: the same with L∞ = 0.
        size: exponent of the best number of parameters over work, from interior minima.
        check: prediction for the largest budget.
        refused: sentences on what could not be concluded.
    """

    best: list[tuple[float, float]]
    minima: list[IsoFlop]
    law: Law | None
    rival: Law | None
    size: tuple[float, float] | None
    check: Check | None
    refused: list[str]


def scaling_findings(runs: Sequence[ScalingRun]) -> ScalingFindings:
    """Everything that these runs allow to conclude. Runs without a finite loss count as infinitely bad."""
    usable, refused = [run for run in runs if math.isfinite(run.loss)], list[str]()
    budgets = sorted({run.budget for run in usable})
    minima, best = [], []
    for budget in budgets:
        some = [run for run in usable if run.budget == budget]
        try:
            minima.append(iso_flop_minimum(budget, [run.parameters for run in some], [run.loss for run in some]))
        except ValueError as error:
            refused.append(f"{error}.")
        best.append((budget, _lowest(some)))
    refused += [
        f"At {one.work:.3g} FLOPs the lowest loss lies at the edge of the sizes: add smaller or larger widths, and keep the "
        "budgets with --of-width."
        for one in minima
        if not one.interior
    ]
    law, rival = (_law(usable, budgets, refused, floor=floor) for floor in (True, False))
    inside = [one for one in minima if one.interior]
    size = fit_exponent([one.work for one in inside], [one.parameters for one in inside]) if len(inside) > 1 else None
    check = _check(usable, budgets, refused)
    return ScalingFindings(best, minima, law, rival, size, check, refused)


def _lowest(some: Sequence[ScalingRun]) -> float:
    """The lowest loss of a budget: at the minimum over sizes if that is interior, else the best mean of a size."""
    sizes = defaultdict(list)
    for run in some:
        sizes[run.parameters].append(run.loss)
    lowest = min(float(np.mean(losses)) for losses in sizes.values())
    if len(sizes) < 4:
        return lowest
    found = iso_flop_minimum(some[0].budget, [run.parameters for run in some], [run.loss for run in some])
    return found.loss if found.interior else lowest


def _groups(runs: Sequence[ScalingRun]) -> list[list[list[int]]]:
    """Numbers of runs: for each width, for each seed, those of the chain of its budgets."""
    chains: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, run in enumerate(runs):
        chains[run.width][run.seed].append(number)
    return [list(of_width.values()) for of_width in chains.values()]


def _fitted(runs: Sequence[ScalingRun], floor: bool, numbers: Sequence[int]) -> PowerLaw:
    by_budget = defaultdict(list)
    for number in numbers:
        by_budget[runs[number].budget].append(runs[number])
    return fit_power_law(list(by_budget), [_lowest(some) for some in by_budget.values()], floor=floor)


def _law(runs: Sequence[ScalingRun], budgets: Sequence[float], refused: list[str], *, floor: bool) -> Law | None:

    def numbers_of(chosen: Sequence[int]) -> tuple[float, float]:
        found = _fitted(runs, floor, chosen)
        return found.floor, found.exponent

    try:
        floors, exponents = bootstrap(_groups(runs), numbers_of)
    except ValueError as error:
        refused.append(f"No law {'with' if floor else 'without'} a floor: {error}.")
        return None
    law = _fitted(runs, floor, range(len(runs)))
    best = [_lowest([run for run in runs if run.budget == budget]) for budget in budgets]
    return Law(law, floors, exponents, float(np.sqrt(np.square(residuals(law, budgets, best)).mean())))


def _check(runs: Sequence[ScalingRun], budgets: Sequence[float], refused: list[str]) -> Check | None:
    """The law of all budgets but the largest; without a floor where only two are left."""
    if len(budgets) < 3:
        refused.append(f"No check: {len(budgets)} budgets, and one is kept aside: add --samples.")
        return None
    largest, smaller = budgets[-1], [run for run in runs if run.budget < budgets[-1]]
    last = [run for run in runs if run.budget == largest]
    floor = len(budgets) > 3
    try:
        (predicted,) = bootstrap(_groups(smaller), lambda numbers: [float(_fitted(smaller, floor, numbers)(largest))])
        (reached,) = bootstrap(_groups(last), lambda numbers: [_lowest([last[number] for number in numbers])])
    except ValueError as error:
        refused.append(f"No check: {error}.")
        return None
    return Check(largest, predicted, reached)
