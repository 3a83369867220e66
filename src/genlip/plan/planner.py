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

from genlip.model.flops import Load, parameters, step_flops
from genlip.plan.advice import notes, warnings
from genlip.plan.hardware import Hardware, find_hardware
from genlip.plan.memory_model import Sharing
from genlip.plan.plan import Assumptions, Plan, Scaling, run_memory
from genlip.plan.simulation import Sizes, collectives, draw_packs, simulate
from genlip.recipes.recipe import as_run
from genlip.recipes.run import Run

if TYPE_CHECKING:
    from genlip.train.parallel import Strategy

__all__ = ["plan_run"]

_TEXT = 74  # assumed text tokens of a sample: the mean of the paper's first stage
_PATCHES = 0.75  # assumed share of patches in a native sample
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
    assumed, guesses = _fill_in(run, assume or Assumptions())
    sample = Load.of_samples([(assumed.patches, assumed.text)])
    per_update = run.packing.packs * run.packing.max_tokens / sample.rows
    sharing, product_bytes = _sharing(run, gpus, assumed.node), _product_bytes(run, hardware)
    flops = step_flops(run.model, sample)
    rate = assumed.utilisation * (hardware.bfloat16 if product_bytes == 2 else hardware.float32)
    rows = -(-run.packing.packs // gpus)
    plan = Plan(
        run=run,
        hardware=hardware,
        sharing=sharing,
        assumed=assumed,
        guesses=guesses,
        parameters=parameters(run.model),
        flops=flops,
        product_bytes=product_bytes,
        packs=run.packing.packs,
        samples_per_update=per_update,
        updates=_updates(run, per_update, sample.rows, assumed.examples),
        seconds=rows * flops.total(run.activation_checkpointing) * per_update / run.packing.packs / rate,
        kept=run_memory(run, assumed, run.packing.max_tokens, sharing, product_bytes, activation_checkpointing=False),
        recomputed=run_memory(run, assumed, run.packing.max_tokens, sharing, product_bytes, activation_checkpointing=True),
        scaling=(),
        warnings=(),
        notes=(),
    )
    plan = dataclasses.replace(plan, scaling=_scaling(plan, rate))
    return dataclasses.replace(plan, warnings=tuple(warnings(plan)), notes=tuple(notes(plan)))


def _shared_processor(hardware: Hardware, processes: int) -> Hardware:
    """The share of each process, since processes on one processor share its rates and memory."""
    if hardware.name != "cpu":
        return hardware
    whole = dataclasses.asdict(hardware)
    return Hardware(**{key: value if key == "name" else value / processes for key, value in whole.items()})


def _fill_in(run: Run, given: Assumptions) -> tuple[Assumptions, tuple[str, ...]]:
    """Assumptions with lengths and workers from the recipe, or guessed, and the guesses in words."""
    known, guesses = run.packing.tokens_per_sample, []
    patches, text = given.patches, given.text
    if not patches and run.images.resize == "fixed":
        patches = float((run.images.size // run.model.patch_size) ** 2)
    elif not patches:
        total = known or 4.0 * _TEXT
        patches = min(max(total - text if text else _PATCHES * total, run.images.min_patches), run.images.max_patches)
        guesses.append(f"{patches:,.0f} patches an image (--patches)")
    if not text and known > patches:
        text = known - patches
    elif not text:
        text = float(min(_TEXT, run.captions.max_tokens))
        guesses.append(f"{text:,.0f} text tokens a sample (--text)")
    if patches + text > run.packing.max_tokens:
        raise ValueError(
            f"a sample of {patches:.0f} patches and {text:.0f} text tokens does not fit a pack of "
            f"{run.packing.max_tokens} rows; raise packing.max_tokens"
        )
    workers = given.workers or run.data.workers
    return dataclasses.replace(given, patches=patches, text=text, workers=workers), tuple(guesses)


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
    low, high = (run.images.min_patches, run.images.max_patches)
    limits = (assumed.patches, assumed.patches) if run.images.resize == "fixed" else (float(low), float(high))
    longest = max(assumed.text, float(run.captions.max_tokens))
    sizes = Sizes(assumed.patches, limits, assumed.text, longest, assumed.decode / 1e3, assumed.spread)
    drawn = draw_packs(run.model, sizes, run.packing.max_tokens, run.activation_checkpointing, seed=run.seed)
    ranks = sorted({1, gpus, *(gpus * 2**i for i in range(1, 3)), *(gpus // 2**i for i in range(1, 4) if gpus % 2**i == 0)})
    if plan.hardware.name == "cpu":
        ranks = [gpus]  # more processes share the same processor
    found = []
    for number in (n for n in ranks if n <= run.packing.packs):
        sharing = _sharing(run, number, assumed.node)
        link, network = plan.hardware.link * assumed.reached, assumed.network * 1e9 * assumed.reached
        links = collectives(sharing, plan.parameters.total, link, network)
        optimizer = _ADAMW * plan.parameters.total / sharing.shards / plan.hardware.memory_bandwidth
        workers = min(assumed.workers, max(1, run.packing.all_streams // number))
        outcome = simulate(
            drawn, plan.packs, number, workers, rate, links, jitter=assumed.jitter, optimizer=optimizer, seed=run.seed
        )
        days = plan.updates * outcome.seconds / 86_400
        found.append(Scaling(number, -(-plan.packs // number), plan.samples_per_update / outcome.seconds, days, outcome))
    return tuple(found)
