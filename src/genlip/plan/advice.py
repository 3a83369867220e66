"""Advice on a plan: warnings with the settings to change, and notes on possible improvements.

In: a `Plan`. Out: sentences. Each names the setting to change and gives figures of its effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from genlip.plan.memory_model import Sharing
from genlip.plan.plan import Plan
from genlip.plan.simulation import LOSS
from genlip.report.formatting import GIB, counted
from genlip.terminal import program

__all__ = ["notes", "warnings"]

_FEW, _ENOUGH = 100, 1000  # updates of a run: fewer give a warning, and the number that the warning suggests


def warnings(plan: Plan) -> Iterator[str]:
    """The problems of a plan, each with the setting to change."""
    run, ranks, packs = plan.run, plan.sharing.ranks, plan.packs
    here = plan.processors(ranks)
    if plan.memory.total > plan.usable:
        yield _does_not_fit(plan)
    if ranks > packs:
        yield (
            f"{here}, but {counted(packs, 'pack')} an update: training refuses this; set --packing.batch "
            f'"{ranks} packs", or use {plan.processors(packs)}'
        )
    elif packs % ranks:
        idle = 1 - packs / (plan.rows * ranks)
        better = " or ".join(f'"{n} packs"' for n in (packs // ranks * ranks, plan.rows * ranks))
        others = "".join(f", or {plan.processors(n)}" for n in _divisors_around(packs, ranks))
        yield (
            f"{packs} packs over {here}: some compute {plan.rows}, others {plan.rows - 1}, so {idle:.1%} of the time "
            f"is idle; better --packing.batch {better}{others}"
        )
    if run.parallel == "hybrid" and plan.sharing.strategy != "hybrid":
        yield f"hybrid needs several equal nodes of {plan.assumed.node}, not {here}: training refuses this; planned as fsdp"
    if 0 < plan.updates < _FEW and plan.updates != run.steps:
        yield _few_updates(plan)
    if not plan.updates:
        yield "the run ends after epochs of a source of unknown length: give --examples"
    yield from _bottlenecks(plan)


def _few_updates(plan: Plan) -> str:
    """A warning of too few updates, with a batch size that gives enough."""
    text = f"the run has only {plan.updates} updates of {plan.samples_per_update:,.0f} samples, too few to learn much"
    packs = max(1, plan.packs * plan.updates // _ENOUGH)
    if packs == plan.packs:
        return f"{text}: let it end later (epochs, samples or tokens)"
    return (
        f'{text}: --packing.batch "{counted(packs, "pack")}" gives about {plan.updates * plan.packs // packs:,} updates; '
        "or let it end later (epochs, samples or tokens)"
    )


def _does_not_fit(plan: Plan) -> str:
    """A warning of too little memory, with settings that fit."""
    packing, activation_checkpointing, here = plan.run.packing, plan.run.activation_checkpointing, plan.sharing
    shards = Sharing("fsdp", here.ranks, here.node) if here.ranks > 1 else here
    others = [
        ("--activation_checkpointing true", plan.memory_with(packing.max_tokens, here, True)),
        ("--parallel fsdp", plan.memory_with(packing.max_tokens, shards, activation_checkpointing)),
        ("--activation_checkpointing true --parallel fsdp", plan.memory_with(packing.max_tokens, shards, True)),
    ]
    shorter = packing.max_tokens // 2
    while shorter > plan.sample_rows:
        others.append((f"--packing.max_tokens {shorter}", plan.memory_with(shorter, here, activation_checkpointing)))
        shorter //= 2
    fitting: list[str] = []
    for words, found in others:
        if found.total <= plan.usable and not any(words.startswith(way.split()[0]) for way in fitting):
            fitting.append(f"{words} needs {found.total / GIB:.1f}")
    what = "; ".join(fitting) or "use a GPU with more memory, or a smaller model"
    return f"does not fit: {plan.memory.total / GIB:.1f} GiB of {plan.usable / GIB:.1f} usable; {what}"


def _divisors_around(packs: int, gpus: int) -> list[int]:
    """The nearest divisors of the packs below and above the number of GPUs, from half of it to twice."""
    divisors = [n for n in range(-(-gpus // 2), 2 * gpus + 1) if packs % n == 0]
    return [*[n for n in divisors if n < gpus][-1:], *[n for n in divisors if n > gpus][:1]]


def _bottlenecks(plan: Plan) -> Iterator[str]:
    here = next((at for at in plan.scaling if at.gpus == plan.sharing.ranks), None)
    if here is None:
        return
    assumed, lost = plan.assumed, here.outcome.lost
    if lost["loader"] >= LOSS and plan.hardware.name == "cpu":
        yield (
            f"preparing samples takes {lost['loader']:.0%} of an update, on the cores that also train: smaller images "
            f"help ({program()} data pack)"
        )
    elif lost["loader"] >= LOSS:
        per_pack = plan.samples_per_update / plan.packs * assumed.decode / 1e3
        enough = math.ceil(1.2 * per_pack * plan.rows / plan.seconds)
        streams = plan.run.packing.all_streams // plan.sharing.ranks
        more = f", and --packing.streams {enough * plan.sharing.ranks}" if enough > streams else ""
        yield (
            f"waiting for data takes {lost['loader']:.0%} of an update: {enough} workers a GPU would be enough "
            f"(--data.workers {enough}{more})"
        )
    if lost["collectives"] >= LOSS:
        yield (
            f"collectives take {lost['collectives']:.0%} of an update: computing {plan.rows} packs a GPU does not overlap "
            "them; increase packing.batch, or use fewer GPUs or a faster network"
        )


def notes(plan: Plan) -> Iterator[str]:
    """Possible improvements, and settings that the plan does not consider."""
    run = plan.run
    if run.activation_checkpointing and plan.kept.total <= plan.usable:
        saved = 1 - plan.flops.total(False) / plan.flops.total(True)
        yield f"fits without activation checkpointing: --activation_checkpointing false saves {saved:.0%} of the time"
    copies = Sharing("ddp", plan.sharing.ranks, plan.sharing.node)
    if (
        plan.sharing.shards > 1
        and plan.memory_with(run.packing.max_tokens, copies, run.activation_checkpointing).total <= plan.usable
    ):
        yield "fits without sharding: --parallel ddp communicates less"
    if run.freeze:
        every = "every parameter" if run.task == "genlip" else "every parameter of the parts in train"
        yield f"freeze is ignored: work and memory are those of training {every}"
