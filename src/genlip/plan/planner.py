"""Planner: the memory and time that a run needs, computed before a GPU is requested.

In: a `Run`, accelerators, and `Assumptions`. Out: a `Plan`: work, memory, days, scaling, and advice.
Days follow from the work and an assumed utilisation. Nothing is timed and no data is opened. If a recipe does not give the
length of its samples, the plan assumes one and says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genlip.plan.advice import notes, warnings
from genlip.plan.hardware import Hardware, find_hardware
from genlip.plan.memory_model import Sharing
from genlip.plan.plan import Plan, Scaling
from genlip.plan.simulation import collectives, simulate
from genlip.plan.workload import Assumptions, Workload
from genlip.recipes.recipe import as_run
from genlip.recipes.run import Run
from genlip.recipes.tasks import import_object

if TYPE_CHECKING:
    from genlip.train.parallel import Strategy

__all__ = ["plan_run"]

# The figures of each task, imported when they are used.
_WORKLOADS = {
    "genlip": "genlip.plan.genlip_workload:GenLIPWorkload",
    "mllm": "genlip.plan.mllm_workload:MLLMWorkload",
}
_ADAMW = 28  # bytes that an update of one weight moves: weight, gradient and two states in, weight and states out


def plan_run(
    run: Run | str | Path,
    overrides: Sequence[str] = (),
    *,
    gpus: int = 8,
    gpu: str = "h100",
    assume: Assumptions | None = None,
) -> Plan:
    """Plan a run on a number of accelerators of `genlip.plan.hardware`. Raises ValueError for impossible arguments.

    run        a run, or a recipe by its name or file
    overrides  settings of the recipe, such as ["--packing.batch", "8M tokens"]

    >>> genlip.plan_run("stage1_l16", gpus=64, gpu="h100").days  # doctest: +SKIP
    """
    run = as_run(run, overrides)
    if gpus < 1:
        raise ValueError(f"gpus is {gpus}: it must be at least 1")
    hardware = _shared_processor(find_hardware(gpu), gpus)
    workload = _workload(run)
    assumed, guesses = _fill_in(workload, assume or Assumptions())
    sample_rows = workload.rows(assumed)
    per_update = run.packing.packs * run.packing.max_tokens / sample_rows
    sharing, product_bytes = _sharing(run, gpus, assumed.node), _product_bytes(run, hardware)
    flops = workload.flops(assumed)
    rate = assumed.utilisation * (hardware.bfloat16 if product_bytes == 2 else hardware.float32)
    rows, max_tokens = -(-run.packing.packs // gpus), run.packing.max_tokens
    plan = Plan(
        run=run,
        workload=workload,
        hardware=hardware,
        sharing=sharing,
        assumed=assumed,
        guesses=guesses,
        parameters=workload.parameters,
        flops=flops,
        product_bytes=product_bytes,
        packs=run.packing.packs,
        samples_per_update=per_update,
        updates=_updates(run, per_update, sample_rows, assumed.examples),
        seconds=rows * flops.total(run.activation_checkpointing) * per_update / run.packing.packs / rate,
        kept=workload.memory(assumed, max_tokens, sharing, product_bytes, activation_checkpointing=False),
        recomputed=workload.memory(assumed, max_tokens, sharing, product_bytes, activation_checkpointing=True),
        scaling=(),
        warnings=(),
        notes=(),
    )
    plan = dataclasses.replace(plan, scaling=_scaling(plan, rate))
    return dataclasses.replace(plan, warnings=tuple(warnings(plan)), notes=tuple(notes(plan)))


def _workload(run: Run) -> Workload:
    """The figures of the run's task. Raises ValueError for a task that cannot be planned."""
    if run.task not in _WORKLOADS:
        raise ValueError(f"runs of task {run.task} cannot be planned: need one of {', '.join(_WORKLOADS)}")
    found: Workload = import_object(_WORKLOADS[run.task])(run)
    return found


def _fill_in(workload: Workload, given: Assumptions) -> tuple[Assumptions, tuple[str, ...]]:
    """Assumptions with lengths and workers from the recipe, or guessed, and the guesses in words."""
    run = workload.run
    assumed, guesses = workload.fill_in(given)
    if workload.rows(assumed) > run.packing.max_tokens:
        raise ValueError(
            f"a sample of {workload.sample_line(assumed)} does not fit a pack of {run.packing.max_tokens} rows; raise "
            "packing.max_tokens"
        )
    return dataclasses.replace(assumed, workers=given.workers or run.data.workers), guesses


def _shared_processor(hardware: Hardware, processes: int) -> Hardware:
    """The share of each process, since processes on one processor share its rates and memory."""
    if hardware.name != "cpu":
        return hardware
    whole = dataclasses.asdict(hardware)
    return Hardware(**{key: value if key == "name" else value / processes for key, value in whole.items()})


def _sharing(run: Run, gpus: int, node: int) -> Sharing:
    if gpus == 1:
        return Sharing("single", 1, 1)
    wanted: Strategy = "ddp" if run.parallel == "auto" else run.parallel
    if wanted == "hybrid" and (gpus % node or gpus == node):
        wanted = "fsdp"  # training refuses hybrid here; `advice` warns of it
    return Sharing(wanted, gpus, min(node, gpus))


def _product_bytes(run: Run, hardware: Hardware) -> int:
    """The rule of `genlip.train.precision`: bfloat16, except on a processor that gains little by it."""
    if run.precision != "auto":
        return 2 if run.precision == "bfloat16" else 4
    return 2 if hardware.name != "cpu" or hardware.float32 < 0.8 * hardware.bfloat16 else 4


def _updates(run: Run, samples: float, rows: float, examples: int) -> int:
    """Updates until the first known end of the run; 0 if no end is known."""
    ends = (
        run.steps,
        run.samples / samples,
        run.tokens / (samples * rows),
        run.epochs * examples / samples,
    )
    return min((math.ceil(end) for end in ends if end), default=0)


def _scaling(plan: Plan, rate: float) -> tuple[Scaling, ...]:
    """The run on the requested number of accelerators, and on multiples and fractions of it by powers of two."""
    run, assumed, gpus = plan.run, plan.assumed, plan.sharing.ranks
    drawn = plan.workload.draw(assumed)
    ranks = sorted({1, gpus, *(gpus * 2**i for i in range(1, 3)), *(gpus // 2**i for i in range(1, 4) if gpus % 2**i == 0)})
    if plan.hardware.name == "cpu":
        ranks = [gpus]  # more processes share the same processor
    trained, gathered = plan.workload.trained, plan.workload.gathered(plan.product_bytes)
    found = []
    for number in (n for n in ranks if n <= run.packing.packs):
        sharing = _sharing(run, number, assumed.node)
        link, network = plan.hardware.link * assumed.reached, assumed.network * 1e9 * assumed.reached
        links = collectives(sharing, trained, link, network, gathered)
        optimizer = _ADAMW * trained / sharing.shards / plan.hardware.memory_bandwidth
        workers = min(assumed.workers, max(1, run.packing.all_streams // number))
        outcome = simulate(
            drawn, plan.packs, number, workers, rate, links, jitter=assumed.jitter, optimizer=optimizer, seed=run.seed
        )
        days = plan.updates * outcome.seconds / 86_400
        found.append(Scaling(number, -(-plan.packs // number), plan.samples_per_update / outcome.seconds, days, outcome))
    return tuple(found)
