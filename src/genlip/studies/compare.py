"""Comparison of objectives: arms of one recipe, at equal samples, equal work and equal time.

In: a recipe, arms, budgets. Out: a table with a row for each run, and the scores from which the page is made.

All arms read the same samples in the same order, with the same tokenizer, schedule and size of the encoder. The budget is a
number of samples of the first arm. What another arm gets for it is the same number of samples, or as many as cost the same
work (FLOPs) or the same time on this machine, as measured before the study begins. The learning rate of each arm is chosen
among the same multiples of the recipe's, on a tenth of the first arm's budget, by its own held-out loss. A run that
diverges has an infinite loss, and no scores.

    OUT/costs.json     cost of a sample of each arm
    OUT/runs/          a folder for each run
    OUT/results.csv    a row for each run
    OUT/study.html     the page
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from genlip.evaluate.scores import Scores
from genlip.recipes.recipe import load_recipe
from genlip.recipes.run import Run
from genlip.studies.arms import Arm
from genlip.studies.cost import Cost, stored_costs
from genlip.studies.measures import Measures, measure_arm
from genlip.studies.runs import Trained, check_own, folder_name, rows_to_csv, train_once

__all__ = ["CompareConfig", "Matching", "Measured", "Planned", "compare_arms", "plan_comparison"]

Matching = Literal["samples", "flops", "seconds"]


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """How arms are compared.

    Attributes:
        samples: budget of the first arm.
        match: what is equal.
        seeds: runs of each arm and matching.
        rate_factors: of the recipe's learning rate, which are tried for each arm; one is not tried but taken.
        sweep_share: of the budget, for each of these trials.
        measures: what is measured at the end.
    """

    samples: int
    match: tuple[Matching, ...] = ("samples", "flops", "seconds")
    seeds: int = 3
    rate_factors: tuple[float, ...] = (0.3, 1.0, 3.0)
    sweep_share: float = 0.1
    measures: Measures = dataclasses.field(default_factory=Measures)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.match if name not in get_args(Matching)]:
            raise ValueError(f"match {', '.join(unknown)}: need some of {', '.join(get_args(Matching))}")
        if self.samples < 1 or self.seeds < 1 or not self.match or not self.rate_factors or min(self.rate_factors) <= 0:
            raise ValueError(
                f"samples {self.samples} and seeds {self.seeds} must be at least 1, match must name something, and "
                f"rate_factors {self.rate_factors} be positive"
            )
        if not 0 < self.sweep_share <= 1:
            raise ValueError(f"sweep_share {self.sweep_share} must lie in (0, 1]")


class Planned(NamedTuple):
    """What a comparison will train.

    Attributes:
        costs: of a sample of each arm, by its name.
        samples: for each arm and matching.
        sweeps: number of runs that choose learning rates, and of samples in each, by arm.
        runs: number of different runs after that.
        flops, seconds: of everything, without measuring.
    """

    costs: dict[str, Cost]
    samples: dict[tuple[str, Matching], int]
    sweeps: dict[str, tuple[int, int]]
    runs: int
    flops: float
    seconds: float


class Measured(NamedTuple):
    """A run of the comparison, with its scores. Runs that several matchings share occur once for each.

    Attributes:
        edge: "lowest" or "highest" where the learning rate is the last of those tried, so that a better one may lie beyond.
    """

    arm: str
    matching: Matching
    rate: float
    edge: str
    trained: Trained
    scores: dict[str, Scores]


def plan_comparison(
    recipe: str | Path, arms: Sequence[Arm], config: CompareConfig, *, out: str | Path, overrides: Sequence[str] = ()
) -> Planned:
    """What `compare_arms` will train, and what it costs. Costs of arms are measured once, in some updates of each.

    Raises ValueError for settings that the study sets itself, and as `load_recipe` does.
    """
    check_own([*overrides, *(word for arm in arms for word in arm.overrides)], _OWN)
    costs = stored_costs({arm.name: (recipe, [*overrides, *arm.overrides]) for arm in arms}, Path(out))
    first = costs[arms[0].name]
    same: dict[Matching, Callable[[Cost], float]] = {
        "samples": lambda one: 1.0,
        "flops": lambda one: first.flops / one.flops,
        "seconds": lambda one: first.seconds / one.seconds,
    }
    samples = {
        (arm.name, matching): max(1, round(config.samples * same[matching](costs[arm.name])))
        for arm in arms
        for matching in config.match
    }
    trials = len(config.rate_factors) if len(config.rate_factors) > 1 else 0
    sweeps = {arm.name: (trials, max(1, round(config.sweep_share * config.samples))) for arm in arms}
    final = [(arm, number) for arm, number in {(arm, number) for (arm, _), number in samples.items()}] * config.seeds
    used = [*final, *((arm, number) for arm, (times, number) in sweeps.items() for _ in range(times))]
    flops = sum(number * costs[arm].flops for arm, number in used)
    seconds = sum(number * costs[arm].seconds for arm, number in used)
    return Planned(costs, samples, sweeps, len(final), flops, seconds)


def compare_arms(
    recipe: str | Path,
    arms: Sequence[Arm],
    config: CompareConfig,
    *,
    out: str | Path,
    overrides: Sequence[str] = (),
    advance: Callable[[str], None] = lambda run: None,
) -> list[Measured]:
    """Train and measure all arms. The same call goes on with a study that was stopped.

    recipe     whose settings all arms share; `overrides` replace some of them
    out        folder of the study
    advance    is called with the folder of each run once it is trained and measured

    Raises ValueError where a run in `out` has other settings, and as `train_model` does.
    """
    folder = Path(out)
    plan = plan_comparison(recipe, arms, config, out=out, overrides=overrides)
    found = list[Measured]()
    for arm in arms:
        rate, edge = _chosen_rate(recipe, arm, config, plan.sweeps[arm.name][1], folder, overrides, advance)
        for matching in config.match:
            for seed in range(config.seeds):
                run = _run(recipe, arm, folder, overrides, plan.samples[arm.name, matching], rate, seed)
                trained = train_once(run)
                scores = measure_arm(trained, config.measures)
                found.append(Measured(arm.name, matching, rate, edge, trained, scores))
                advance(run.out)
                rows_to_csv(folder / "results.csv", [_row(one, plan.costs[one.arm]) for one in found])
    return found


_OWN = (
    "out", "steps", "epochs", "tokens", "samples", "seed", "optimizer.learning_rate", "keep_last", "evaluate_every",
)  # fmt: skip


def _run(recipe: str | Path, arm: Arm, out: Path, overrides: Sequence[str], samples: int, rate: float, seed: int) -> Run:
    """A run of an arm; its folder is named after all that differs between the runs of a study."""
    folder = out / "runs" / folder_name(arm.name, samples, rate, f"seed{seed}")
    own = {
        "out": folder, "steps": 0, "epochs": 0, "tokens": 0, "samples": samples, "seed": seed,
        "optimizer.learning_rate": rate, "keep_last": 1, "evaluate_every": 1_000_000_000,
    }  # fmt: skip
    return load_recipe(recipe, [*overrides, *arm.overrides, *(f"--{key}={value}" for key, value in own.items())])


def _chosen_rate(
    recipe: str | Path, arm: Arm, config: CompareConfig, samples: int, out: Path, overrides: Sequence[str],
    advance: Callable[[str], None],
) -> tuple[float, str]:  # fmt: skip
    """The learning rate with the lowest held-out loss after a part of the budget, and whether it is the last one tried."""
    base = load_recipe(recipe, [*overrides, *arm.overrides]).optimizer.learning_rate
    rates = sorted(float(f"{base * factor:.4g}") for factor in config.rate_factors)
    if len(rates) == 1:
        return rates[0], ""
    losses = {}
    for rate in rates:
        run = _run(recipe, arm, out, overrides, samples, rate, 0)
        losses[rate] = train_once(run).loss
        advance(run.out)
    if min(losses.values()) == math.inf:
        raise ValueError(f"arm {arm.name}: no learning rate of {rates} gave a held-out loss: try lower ones")
    best = min(losses, key=lambda rate: losses[rate])
    return best, {rates[0]: "lowest", rates[-1]: "highest"}.get(best, "")


def _row(one: Measured, cost: Cost) -> dict[str, Any]:
    """A row of the table."""
    trained = one.trained
    return {
        "arm": one.arm, "matching": one.matching, "seed": trained.run.seed, "samples": trained.samples,
        "tokens": trained.tokens, "flops": f"{trained.samples * cost.flops:.6g}", "seconds": trained.seconds,
        "learning_rate": one.rate, "held_out_loss": trained.loss,
        **{f"parameters_{part}": number for part, number in cost.parameters.items()},
        **{name: scores.score for name, scores in one.scores.items()},
        "folder": trained.run.out,
    }  # fmt: skip
