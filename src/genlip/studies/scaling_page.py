"""Page of a scaling study.

In: runs, findings and the plan. Out: HTML, and the conclusions as plain lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genlip.report import charts, html
from genlip.report.charts import Line
from genlip.report.formatting import counted, large_count, long_duration, with_prefix
from genlip.report.html import Section
from genlip.studies.scaling import ScalingPlan, ScalingRun
from genlip.studies.scaling_findings import Law, ScalingFindings
from genlip.studies.scaling_law import Band

__all__ = ["SCALING_PLAN_HEAD", "scaling_lines", "scaling_page", "scaling_plan_rows"]

SCALING_PLAN_HEAD = ("width", "parameters", "FLOPs of a sample", "ms of a sample", "samples of each budget")
_COLOURS = ("blue", "orange", "text", "grey")


def scaling_page(runs: Sequence[ScalingRun], findings: ScalingFindings, plan: ScalingPlan, recipe: str) -> str:
    """The page."""
    story = (
        f"Runs of the recipe {recipe} at several widths and budgets. Losses are of held-out captions, in nats per byte of "
        "their text. Work is that of a forward and a backward pass, as FlopCounterMode counts it. Intervals of 95 % are of "
        "seeds drawn with replacement, each with its runs of all budgets."
    )
    total = f"{with_prefix(plan.flops)}FLOPs and about {long_duration(plan.seconds)} of training in all."
    drawn = [_sizes_chart(runs, findings), _law_chart(findings)]
    said = "".join(f"<li>{html.escape(line)}</li>" for line in scaling_lines(findings))
    sections = [
        Section("What these runs show", html.paragraphs(story) + f"<ul>{said}</ul>" + html.warning_list(findings.refused)),
        Section("Curves", html.side_by_side(*drawn)),
        Section("The grid", html.table(SCALING_PLAN_HEAD, scaling_plan_rows(plan)) + html.paragraphs(total)),
        Section("Runs", html.table(_RUN_HEAD, map(_run_row, runs))),
    ]
    return html.page("Scaling study", sections)


def scaling_lines(findings: ScalingFindings) -> list[str]:
    """What was found, in sentences."""
    lines = []
    for name, law in (("with a floor", findings.law), ("without one", findings.rival)):
        if law is not None:
            lines.append(f"Loss over work {name}: {_law_words(law)}; residuals of {law.error:.2%}")
    lines += [
        f"At {one.work:.3g} FLOPs the best size is {large_count(one.parameters)} parameters"
        for one in findings.minima
        if one.interior
    ]
    if findings.size is not None:
        lines.append(f"The best number of parameters grows with work to the power {findings.size[0]:.2f}")
    if findings.check is not None:
        check = findings.check
        verdict = "the two agree within their intervals" if check.holds else "the two differ by more than their intervals"
        lines.append(
            f"Check: without the largest budget ({check.work:.3g} FLOPs) the law predicts {_band(check.predicted)} there; "
            f"{_band(check.reached)} was reached; {verdict}"
        )
    return lines


def scaling_plan_rows(plan: ScalingPlan) -> list[list[str]]:
    """The grid as rows below `SCALING_PLAN_HEAD`."""
    return [
        [
            str(width), large_count(sum(cost.parameters.values())), with_prefix(cost.flops).strip(),
            f"{1000 * cost.seconds:.3g}", ", ".join(f"{plan.samples[width, work]:,}" for work in plan.budgets),
        ]
        for width, cost in plan.costs.items()
    ]  # fmt: skip


_RUN_HEAD = ("width", "seed", "samples", "FLOPs", "nats per byte", "seconds")


def _run_row(one: ScalingRun) -> list[str]:
    return [
        str(one.width), str(one.seed), f"{one.samples:,}", f"{one.flops:.3g}", f"{one.loss:.4f}", f"{one.seconds:,.0f}"
    ]  # fmt: skip


def _law_words(found: Law) -> str:
    law = found.law
    floor = f"{_band(found.floor)} + " if law.floor else ""
    return f"{floor}{law.scale:.4g} · (C / {law.unit:.3g})^−{_band(found.exponent)}"


def _band(band: Band) -> str:
    return f"{band.value:.4f} ({band.low:.4f} to {band.high:.4f})"


def _sizes_chart(runs: Sequence[ScalingRun], findings: ScalingFindings) -> str:
    """Mean loss over parameters, a curve for each of the largest budgets."""
    lines = []
    for (budget, _), colour in zip(reversed(findings.best), _COLOURS, strict=False):
        sizes = sorted({run.parameters for run in runs if run.budget == budget})
        losses = [float(np.mean([r.loss for r in runs if r.budget == budget and r.parameters == size])) for size in sizes]
        lines.append(Line(f"{budget:.2g} FLOPs", [size / 1e6 for size in sizes], losses, colour, marked=True))
    return charts.chart("Held-out loss, nats per byte", lines, logarithmic=True, below="parameters, millions")


def _law_chart(findings: ScalingFindings) -> str:
    """Lowest loss of each budget, and the laws."""
    work = [one for one, _ in findings.best]
    exponents = np.log10(work)
    lines = [Line("reached", exponents.tolist(), [loss for _, loss in findings.best], "blue", marked=True)]
    smooth = np.linspace(exponents.min(), exponents.max(), 50)
    for name, law, colour in (("with a floor", findings.law, "orange"), ("without", findings.rival, "grey")):
        if law is not None:
            lines.append(Line(name, smooth.tolist(), law.law(10**smooth).tolist(), colour))
    runs = counted(len(work), "budget")
    return charts.chart(f"Lowest loss of {runs}, nats per byte", lines, logarithmic=True, below="log10 of FLOPs")
