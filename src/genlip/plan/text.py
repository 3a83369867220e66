"""A plan as text and three small tables, for a terminal or a pipe.

In: a `Plan`. Out: a renderable of rich, or text.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from genlip.plan.plan import Plan
from genlip.plan.simulation import LOSS
from genlip.report.formatting import GIB, counted, large_count, long_duration, two_digits, unit_of_time, with_prefix
from genlip.terminal import harmless

__all__ = ["plan_text", "render"]

_WIDE = 96  # characters that two tables side by side need


def plan_text(plan: Plan, title: str = "run", width: int = 100) -> str:
    """The plan as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(plan, title, width))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"  # type: ignore[attr-defined]


def render(plan: Plan, title: str, width: int) -> RenderableType:
    """The plan for a rich console of this width."""
    parts: list[RenderableType] = [Text(_headline(plan, title), style="bold"), Text(), _facts(plan), Text()]
    parts += [_beside(_flops(plan), _memory(plan), width >= _WIDE), Text(), _scaling(plan), Text()]
    parts += [_marked("!", "bold red", warning) for warning in plan.warnings]
    parts += [_marked("·", "bold green", note) for note in plan.notes]
    parts.append(_marked("·", "dim", "assumed: " + _assumptions(plan), "dim"))
    return Group(*parts)


def _beside(left: Table, right: Table, fits: bool) -> RenderableType:
    if not fits:
        return Group(left, Text(), right)
    grid = Table.grid(padding=(0, 5))
    grid.add_row(left, right)
    return grid


def _headline(plan: Plan, title: str) -> str:
    on = f"{harmless(title)} on {plan.sharing.ranks} × {plan.hardware.name}"
    if not plan.updates:
        return f"{on}: {long_duration(plan.seconds)} an update{_with_waiting(plan, 1)}"
    hours = "" if plan.on_cpu else f", {two_digits(plan.days * 24 * plan.sharing.ranks)} GPU-hours"
    return f"{on}: {long_duration(plan.days * 86_400)}{hours}{_with_waiting(plan, plan.updates)}"


def _with_waiting(plan: Plan, updates: int) -> str:
    """The simulated time of so many updates, where much of it is lost to the loader."""
    here = next((at.outcome for at in plan.scaling if at.gpus == plan.sharing.ranks), None)
    if here is None or here.lost["loader"] < LOSS:
        return ""
    return f"; {long_duration(updates * here.seconds)} with waiting for data"


def _facts(plan: Plan) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, fact in _each_fact(plan):
        table.add_row(Text(name, style="bold"), Text(fact))
    return table


def _each_fact(plan: Plan) -> Iterator[tuple[str, str]]:
    run, sharing = plan.run, plan.sharing
    yield "model", plan.workload.model_line()
    work = with_prefix(plan.flops.total(run.activation_checkpointing))
    yield "sample", f"{plan.workload.sample_line(plan.assumed)}, {work}FLOP to train on"
    each = f"{plan.rows} {_each(plan)}" if sharing.ranks > 1 else "one after another"
    yield (
        "update",
        f"{plan.samples_per_update:,.0f} samples in {counted(plan.packs, 'pack')} of {run.packing.max_tokens:,} rows, "
        f"{each}: {long_duration(plan.seconds)}",
    )
    if plan.updates:
        yield "run", f"{large_count(plan.updates * plan.samples_per_update)} samples, {counted(plan.updates, 'update')}"
    precision = "bfloat16" if plan.product_bytes == 2 else "float32"
    copies = f"ddp, a copy {'in' if plan.on_cpu else 'on'} each {'process' if plan.on_cpu else 'GPU'}"
    place = {"single": "one process", "ddp": copies}.get(sharing.strategy, sharing.strategy)
    if sharing.shards > 1:
        place = f"{sharing.strategy}, sharded over {sharing.shards}"
    yield "as", f"{place}; {precision} products; activations {'recomputed' if run.activation_checkpointing else 'kept'}"
    fits = "fits" if plan.memory.total <= plan.usable else "DOES NOT FIT"
    yield "memory", f"{plan.memory.total / GIB:.1f} {_gib(plan)} of {plan.usable / GIB:.1f} usable: {fits}"


def _each(plan: Plan) -> str:
    return "a process" if plan.on_cpu else "a GPU"


def _gib(plan: Plan) -> str:
    """The unit of memory; a single process on a processor has all of it."""
    return "GiB" if plan.on_cpu and plan.sharing.ranks == 1 else f"GiB {_each(plan)}"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table


def _flops(plan: Plan) -> Table:
    flops, again = plan.flops, plan.run.activation_checkpointing
    passes = [flops.forward, flops.backward, *([flops.recomputed] if again else [])]
    unit, letter = _unit(flops.total(again))
    table = _table(f"{letter}FLOP a sample", "forward", "backward", *(["recomputed"] if again else []), "share")
    for part, name in plan.workload.work.items():
        work = [getattr(one, part) for one in passes]
        table.add_row(name, *(f"{value / unit:,.1f}" for value in work), f"{sum(work) / flops.total(again):.0%}")
    table.add_row("total", *(f"{one.total / unit:,.1f}" for one in passes), "100%", style="bold")
    return table


def _memory(plan: Plan) -> Table:
    table = _table(_gib(plan), "kept", "recomputed")
    for part in plan.kept._asdict():
        sizes = [getattr(way, part) / GIB for way in (plan.kept, plan.recomputed)]
        if any(sizes):
            table.add_row(part.replace("_", " "), *(f"{size:.2f}" for size in sizes))
    table.add_row("total", *(f"{way.total / GIB:.2f}" for way in (plan.kept, plan.recomputed)), style="bold")
    return table


def _scaling(plan: Plan) -> RenderableType:
    if not plan.scaling:
        return Text()
    days, per = unit_of_time(plan.days * 86_400)
    table = _table(
        "processes" if plan.on_cpu else "GPUs",
        "packs each",
        "samples/s",
        days,
        "useful",
        "lost: loader",
        "links",
        "uneven packs",
    )
    table.columns[0].justify = "right"
    for at in plan.scaling:
        table.add_row(
            str(at.gpus),
            str(at.rows),
            f"{at.samples_per_second:,.0f}",
            f"{at.days * 86_400 / per:,.1f}" if at.days else "–",
            f"{at.outcome.efficiency:.0%}",
            *(f"{share:.0%}" for share in at.outcome.lost.values()),
            style="bold" if at.gpus == plan.sharing.ranks else "",
        )
    limits = [_limit(plan, what) for what in ("loader", "collectives")]
    return Group(table, Text(), Text(f"Bottlenecks, simulated: {'; '.join(limits)}."))


def _limit(plan: Plan, what: str) -> str:
    """The number of accelerators from which it is a bottleneck."""
    first = next((at.gpus for at in plan.scaling if at.outcome.lost[what] >= LOSS), None)
    return f"the {what} at none of these" if first is None else f"the {what} from {plan.processors(first)} on"


def _marked(mark: str, style: str, text: str, text_style: str = "") -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(mark, style=style), Text(text, style=text_style))
    return grid


def _assumptions(plan: Plan) -> str:
    assumed, unit = plan.assumed, plan.hardware
    rate = unit.bfloat16 if plan.product_bytes == 2 else unit.float32
    parts = [
        f"computing at {assumed.utilisation:.0%} of {with_prefix(rate)}FLOP/s (--utilisation)",
        f"{assumed.reserved:.0%} of {unit.memory / GIB:.0f} GiB left free",
        *(f"{guess}, a guess" for guess in plan.guesses),
    ]
    if len(plan.scaling) > 1:
        parts.append(
            f"nodes of {assumed.node} (--node) with {with_prefix(unit.link)}B/s inside and {assumed.network:g} GB/s a GPU "
            f"between (--network), of which collectives reach {assumed.reached:.0%}"
        )
    if plan.scaling:
        parts.append(
            f"{counted(assumed.workers, 'worker')} {_each(plan)} (--workers) with {assumed.decode:g} ms a sample "
            f"(--decode); text, decoding and native sizes spread by {assumed.spread:.0%}, computing by "
            f"{assumed.jitter:.0%}, seed {plan.run.seed}"
        )
    return "; ".join(parts) + "."


def _unit(value: float) -> tuple[float, str]:
    return next(((size, name) for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if value >= 100 * size), (1e6, "M"))
