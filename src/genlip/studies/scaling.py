"""Scaling: one recipe at several sizes and budgets, to predict what a larger run would reach.

In: a recipe, widths, samples. Out: runs with their held-out losses in nats per caption byte, and what `scaling_findings`
concludes from them.

A budget is an amount of work (FLOPs): what the middle width needs for so many samples. Every width reads as many samples as
cost the same, so that each budget gives an isoFLOP curve. The schedule is `stable`. The runs of one width and seed are a
chain: the run of the smallest budget trains from the beginning, and that of each next budget branches off the one before
it, before its cooldown. So a chain costs little more than its longest run.

    OUT/costs.json     cost of a sample of each width
    OUT/runs/          a folder for each run
    OUT/results.csv    a row for each run
    OUT/study.html     the page
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from genlip.evaluate.scores import Scores
from genlip.recipes.recipe import load_recipe
from genlip.recipes.run import Run
from genlip.studies.cost import Cost, stored_costs
from genlip.studies.measures import Measures, measure_arm
from genlip.studies.runs import Trained, check_own, folder_name, rows_to_csv, train_once
from genlip.train.checkpoints import latest, read_progress
from genlip.train.loop import open_sources
from genlip.train.resume import branch
from genlip.train.task import task_class

__all__ = ["ScalingConfig", "ScalingPlan", "ScalingRun", "plan_scaling", "tokens_per_byte", "train_scaling"]

log = logging.getLogger(__name__)

_SAVES = 20  # checkpoints of a run, those that are removed again included


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """The grid of a scaling study.

    Attributes:
        widths: of the model; the feed-forward network and the number of heads grow with it, the number of blocks does not.
        samples: budgets, as samples of the width `of_width`.
        of_width: one of the widths; 0 takes the middle one. Name it when widths are added to a study, so that its budgets,
            and with them the runs that are there, stay.
        seeds: chains of each width.
        cooldown: share of each run in which the learning rate falls.
        measures: what is measured besides the held-out loss.
    """

    widths: tuple[int, ...]
    samples: tuple[int, ...]
    of_width: int = 0
    seeds: int = 3
    cooldown: float = 0.2
    measures: Measures = dataclasses.field(default_factory=Measures)

    def __post_init__(self) -> None:
        for name in ("widths", "samples"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or not values or min(values) < 1:
                raise ValueError(f"{name} {values}: need numbers of at least 1, each once")
            object.__setattr__(self, name, tuple(sorted(values)))
        if self.of_width not in (0, *self.widths):
            raise ValueError(f"of_width {self.of_width}: need one of the widths {self.widths}, or 0 for the middle one")
        object.__setattr__(self, "of_width", self.of_width or self.widths[len(self.widths) // 2])
        if self.seeds < 1 or not 0 < self.cooldown < 1:
            raise ValueError(f"seeds {self.seeds} must be at least 1, cooldown {self.cooldown} lie between 0 and 1")


class ScalingPlan(NamedTuple):
    """What a study will train.

    Attributes:
        costs: of a sample, by width.
        budgets: in FLOPs, in ascending order.
        samples: by width and budget.
        flops, seconds: of all chains, without measuring.
    """

    costs: dict[int, Cost]
    budgets: tuple[float, ...]
    samples: dict[tuple[int, float], int]
    flops: float
    seconds: float


class ScalingRun(NamedTuple):
    """A run of the grid.

    Attributes:
        width: of the model.
        parameters: of the whole model.
        budget: that it belongs to; `flops` is what it used.
        loss: held-out, in nats per byte of the captions.
        scores: of what was measured besides.
    """

    width: int
    parameters: int
    seed: int
    budget: float
    flops: float
    samples: int
    loss: float
    seconds: float
    scores: dict[str, Scores]
    folder: str


def plan_scaling(
    recipe: str | Path, config: ScalingConfig, *, out: str | Path, overrides: Sequence[str] = ()
) -> ScalingPlan:
    """What `train_scaling` will train, and what it costs. Costs of widths are measured once, in some updates of each.

    Raises ValueError for a task whose loss is not one of caption tokens at any width, and settings that the study sets.
    """
    check_own(overrides, _OWN)
    if (task := load_recipe(recipe, overrides).task) not in _TASKS:
        raise ValueError(f"task {task}: its loss is no loss of caption tokens at any width; need one of {', '.join(_TASKS)}")
    settings = {width: [*overrides, *_sizes(recipe, width, overrides)] for width in config.widths}
    named = stored_costs({str(width): (recipe, words) for width, words in settings.items()}, Path(out))
    costs = {width: named[str(width)] for width in config.widths}
    budgets = tuple(number * costs[config.of_width].flops for number in config.samples)
    samples = {(width, work): max(1, round(work / costs[width].flops)) for width in config.widths for work in budgets}
    chains = {width: _chain_samples([samples[width, work] for work in budgets], config.cooldown) for width in config.widths}
    flops = config.seeds * sum(number * costs[width].flops for width, number in chains.items())
    seconds = config.seeds * sum(number * costs[width].seconds for width, number in chains.items())
    return ScalingPlan(costs, budgets, samples, flops, seconds)


def _chain_samples(numbers: Sequence[int], cooldown: float) -> float:
    """Samples that a chain trains on: each run begins where the cooldown of the run before it began."""
    kept = [0.0, *((1 - cooldown) * number for number in numbers[:-1])]
    return sum(number - before for number, before in zip(numbers, kept, strict=True))


def train_scaling(
    recipe: str | Path,
    config: ScalingConfig,
    *,
    out: str | Path,
    overrides: Sequence[str] = (),
    advance: Callable[[str], None] = lambda run: None,
) -> list[ScalingRun]:
    """Train and measure the grid. The same call goes on with a study that was stopped.

    Raises ValueError as `plan_scaling`, where a run in `out` has other settings, and as `train_model` does.
    """
    folder = Path(out)
    plan, found = plan_scaling(recipe, config, out=out, overrides=overrides), list[ScalingRun]()
    per_byte = {seed: tokens_per_byte(load_recipe(recipe, [*overrides, f"--seed={seed}"])) for seed in range(config.seeds)}
    for width in config.widths:
        for seed in range(config.seeds):
            before: Run | None = None
            for budget in plan.budgets:
                run = _run(recipe, config, plan, width, budget, seed, folder, overrides)
                trained = _branched(run, before)
                found.append(_measured(trained, width, budget, plan.costs[width], per_byte[seed], config.measures))
                before = run
                advance(run.out)
                rows_to_csv(folder / "results.csv", [_row(one) for one in found])
    return found


_TASKS = ("genlip", "genlip_variant", "encoder_decoder", "cap")
_OWN = (
    "out", "steps", "epochs", "tokens", "samples", "seed", "optimizer.schedule", "optimizer.cooldown_ratio", "save_every",
    "keep_last", "evaluate_every",
)  # fmt: skip


def _run(
    recipe: str | Path, config: ScalingConfig, plan: ScalingPlan, width: int, budget: float, seed: int, out: Path,
    overrides: Sequence[str],
) -> Run:  # fmt: skip
    samples = plan.samples[width, budget]
    steps = samples / plan.costs[width].samples_per_update
    own = {
        "out": out / "runs" / folder_name(f"width{width}", samples, f"seed{seed}"), "steps": 0, "epochs": 0, "tokens": 0,
        "samples": samples, "seed": seed, "optimizer.schedule": "stable", "optimizer.cooldown_ratio": config.cooldown,
        "save_every": math.ceil(steps / _SAVES), "keep_last": 4 + math.ceil(config.cooldown * _SAVES),
        "evaluate_every": 1_000_000_000,
    }  # fmt: skip
    words = [*overrides, *_sizes(recipe, width, overrides), *(f"--{key}={value}" for key, value in own.items())]
    return load_recipe(recipe, words)


def _sizes(recipe: str | Path, width: int, overrides: Sequence[str]) -> list[str]:
    """Settings of the recipe's model at another width, with heads of the same size. Raises ValueError if none fit."""
    model = load_recipe(recipe, overrides).model
    if width % model.head_dim:
        raise ValueError(f"width {width}: need a multiple of the size of a head, {model.head_dim}")
    sizes = {
        "hidden_size": width, "num_attention_heads": width // model.head_dim,
        "intermediate_size": round(model.intermediate_size * width / model.hidden_size),
    }  # fmt: skip
    if model.text_embed_dim == model.hidden_size:
        sizes["text_embed_dim"] = width
    return [f"--model.{name}={value}" for name, value in sizes.items()]


def _branched(run: Run, before: Run | None) -> Trained:
    """Train a run; a new one branches off the shorter run before it, at its last checkpoint before the cooldown.

    It trains from the beginning where the shorter run ended within its own warm-up, or has no such checkpoint any more.
    """
    if before is not None and latest(run.out) is None:
        least = run.optimizer.warmup_ratio * run.samples
        most = (1 - before.optimizer.cooldown_ratio) * before.samples
        saved = sorted(Path(before.out).glob("checkpoints/step-*[0-9]"))
        usable = [one for one in saved if least <= read_progress(one)["samples"] <= most]
        if usable:
            branch(usable[-1], run)
        else:
            log.warning("%s trains from its beginning: %s has no checkpoint to branch off", run.out, before.out)
    return train_once(run)


def _measured(trained: Trained, width: int, budget: float, cost: Cost, per_byte: float, measures: Measures) -> ScalingRun:
    return ScalingRun(
        width=width, parameters=sum(cost.parameters.values()), seed=trained.run.seed, budget=budget,
        flops=trained.samples * cost.flops, samples=trained.samples, loss=trained.loss * per_byte, seconds=trained.seconds,
        scores=measure_arm(trained, measures), folder=trained.run.out,
    )  # fmt: skip


def tokens_per_byte(run: Run) -> float:
    """Supervised tokens of the held-out captions, divided by the bytes of their text: nats per token become nats per byte.

    Both depend on the seed where a part of the training data is held out.
    """
    kind: Any = task_class(run)
    source, measured = open_sources(run)
    task = kind(run, kind.find_processor(run, source, None))
    samples, _ = task.reader(measured).some(run.data.held_out_samples)
    tokens = sum(int(one.supervised.sum()) for one in samples)
    texts = (task.captions.tokenizer.decode(one.token_ids[one.supervised].tolist()) for one in samples)
    return tokens / sum(len(text.encode()) for text in texts)


def _row(one: ScalingRun) -> dict[str, object]:
    """A row of the table."""
    row = one._asdict()
    scores = row.pop("scores")
    folder = row.pop("folder")
    return {**row, **{name: score.score for name, score in scores.items()}, "folder": folder}
