"""Scaling laws: fits of held-out losses over work, and isoFLOP minima. No model and no file is read here.

In: runs as (parameters, samples, work, loss). Out: fitted laws with bootstrap intervals.

    L = L∞ + A·C^-α       `fit_power_law`, of the best loss for each budget C
    L = A·C^-α            the rival form: the same with L∞ = 0
    N*(C)                 `iso_flop_minimum`: the size with the lowest loss at one budget, a parabola in log N

All losses are in one unit, such as nats per byte. Residuals are of log L, so that small losses count as much as large ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Band", "IsoFlop", "PowerLaw", "bootstrap", "fit_exponent", "fit_power_law", "iso_flop_minimum", "residuals"]


class PowerLaw(NamedTuple):
    """L = floor + scale · (C / unit)^-exponent; `unit` is the geometric mean of the fitted C, so that `scale` is a loss.

    Attributes:
        floor: L∞, the loss that no budget goes below.
        scale: A, what is left above it at C = unit.
        exponent: α, at least 0.
        unit: of C.
    """

    floor: float
    scale: float
    exponent: float
    unit: float

    def __call__(self, work: float | np.ndarray) -> np.ndarray:
        """The loss at a budget."""
        return self.floor + self.scale * (np.asarray(work, dtype=np.float64) / self.unit) ** -self.exponent


class IsoFlop(NamedTuple):
    """The size with the lowest loss at one budget.

    Attributes:
        work: the budget.
        parameters: the size at the minimum of the parabola.
        loss: there.
        interior: whether the minimum lies between the second smallest and the second largest size; else it is no finding.
    """

    work: float
    parameters: float
    loss: float
    interior: bool


class Band(NamedTuple):
    """A value with its interval over bootstrap samples."""

    value: float
    low: float
    high: float


def fit_power_law(work: Sequence[float], loss: Sequence[float], *, floor: bool = True) -> PowerLaw:
    """The law with the least squares of log L. `floor` False fits the rival form, without L∞.

    Raises ValueError for fewer points than the law has numbers, and for what is not positive.
    """
    c, y = (np.asarray(part, dtype=np.float64) for part in (work, loss))
    needed = 3 if floor else 2
    if len(np.unique(c)) < needed or len(c) != len(y) or not (c > 0).all() or not (y > 0).all():
        raise ValueError(f"{len(np.unique(c))} budgets: a law with {needed} numbers needs as many, with positive losses")
    unit = float(np.exp(np.log(c).mean()))
    x = np.log(c / unit)
    if not floor:
        scale, exponent = _lines(x, y, np.zeros(1))
        return PowerLaw(0.0, float(scale[0]), float(exponent[0]), unit)

    def errors(shares: np.ndarray) -> np.ndarray:
        scale, exponent = _lines(x, y, shares * y.min())
        law = shares[:, None] * y.min() + scale[:, None] * np.exp(-exponent[:, None] * x)
        return np.square(np.log(y / law)).sum(1)

    below = y.min() * _least(errors, 0.0, 1 - 1e-9)
    scale, exponent = _lines(x, y, np.array([below]))
    return PowerLaw(float(below), float(scale[0]), float(exponent[0]), unit)


def _lines(x: np.ndarray, y: np.ndarray, floors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and exponent (at least 0) of y - floor = scale·exp(-exponent·x), by weighted least squares for each floor.

    Weights make errors of log(y - floor) to first order those of log y.
    """
    above = y - floors[:, None]
    weights = (above / y) ** 2
    weights /= weights.sum(1, keepdims=True)
    z = np.log(above)
    middle, height = (weights * x).sum(1, keepdims=True), (weights * z).sum(1, keepdims=True)
    slope = (weights * (x - middle) * (z - height)).sum(1) / (weights * (x - middle) ** 2).sum(1)
    exponent = np.maximum(0.0, -slope)
    return np.exp(height[:, 0] + exponent * middle[:, 0]), exponent


def residuals(law: PowerLaw, work: Sequence[float] | np.ndarray, loss: Sequence[float] | np.ndarray) -> np.ndarray:
    """Float64[n], log of the true loss over that of the law."""
    return np.log(np.asarray(loss, dtype=np.float64) / law(np.asarray(work, dtype=np.float64)))


def _least(errors: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """Where a function of one number is least: on a grid, dense near the upper end, then on finer grids around the best."""
    grid = high - (high - low) * np.linspace(0, 1, 200) ** 3
    for _ in range(6):
        best = int(np.argmin(errors(grid)))
        near = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
        grid = np.linspace(min(near), max(near), 40)
    return float(grid[int(np.argmin(errors(grid)))])


def iso_flop_minimum(work: float, parameters: Sequence[float], loss: Sequence[float]) -> IsoFlop:
    """The minimum of a parabola of the loss over log N, through runs of one budget.

    Raises ValueError for fewer than four sizes: three always lie on a parabola.
    """
    n = np.log(np.asarray(parameters, dtype=np.float64))
    order = np.argsort(n)
    n, y = n[order], np.asarray(loss, dtype=np.float64)[order]
    if len(np.unique(n)) < 4:
        raise ValueError(f"{len(np.unique(n))} sizes at a budget of {work:.3g}: a minimum needs at least 4")
    middle = n.mean()
    square, line, height = np.polyfit(n - middle, y, 2)
    if square <= 0:
        best = float(n[int(np.argmin(y))])
        return IsoFlop(work, math.exp(best), float(y.min()), False)
    at = -line / (2 * square)
    sizes = np.unique(n)
    inside = bool(sizes[1] <= at + middle <= sizes[-2])
    return IsoFlop(work, math.exp(at + middle), float(height - line**2 / (4 * square)), inside)


def fit_exponent(work: Sequence[float], best: Sequence[float]) -> tuple[float, float]:
    """(a, b) of best = exp(b)·C^a, such as the best size for each budget. Raises ValueError for fewer than two budgets."""
    if len(set(work)) < 2:
        raise ValueError(f"{len(set(work))} budgets with a minimum: an exponent needs at least 2")
    slope, height = np.polyfit(np.log(work), np.log(best), 1)
    return float(slope), float(height)


def bootstrap(
    groups: Sequence[Sequence[Sequence[int]]],
    fit: Callable[[list[int]], Sequence[float]],
    resamples: int = 500,
    level: float = 0.95,
) -> list[Band]:
    """Values of a fit with intervals, over chains of runs drawn with replacement.

    groups  of chains that differ in their seed alone; each chain is the numbers of its runs, which share training and are
            drawn together. Of each group as many chains are drawn as it has
    fit     numbers of runs -> values; drawn sets for which it raises ValueError are left out

    Draws out of n chains vary less than new ones would, by √((n - 1)/n); intervals are wider by as much. Raises ValueError
    where groups have one chain only, or more than half of the drawn sets cannot be fitted.
    """
    number = sum(map(len, groups)) / len(groups)
    if number <= 1:
        raise ValueError("one seed says nothing about others: run more seeds")
    draw, found, wider = np.random.default_rng(0), list[Sequence[float]](), math.sqrt(number / (number - 1))
    value = np.array(fit([run for group in groups for chain in group for run in chain]))
    for _ in range(resamples):
        chosen = [run for group in groups for n in draw.integers(len(group), size=len(group)) for run in group[n]]
        try:
            found.append(fit(chosen))
        except ValueError:
            continue
    if len(found) < resamples / 2:
        raise ValueError(f"only {len(found)} of {resamples} drawn sets of runs can be fitted: run more budgets or seeds")
    low, high = np.quantile(np.array(found), [(1 - level) / 2, (1 + level) / 2], axis=0)
    ends = value + wider * np.minimum(0, low - value), value + wider * np.maximum(0, high - value)
    return [Band(float(v), float(a), float(b)) for v, a, b in zip(value, *ends, strict=True)]
