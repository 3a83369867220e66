"""Page of a comparison of objectives.

In: measured runs and what was planned. Out: HTML, and the same figures as plain lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from genlip.evaluate.score_table import number_words, signed_words
from genlip.evaluate.scores import Difference, Scores
from genlip.report import html
from genlip.report.formatting import counted, large_count, long_duration, with_prefix
from genlip.report.html import Section
from genlip.studies.compare import CompareConfig, Matching, Measured, Planned
from genlip.studies.intervals import mean_difference, mean_interval

__all__ = ["comparison_lines", "comparison_study_page", "plan_rows"]

_EQUAL: dict[Matching, str] = {
    "samples": "equal samples", "flops": "equal work (FLOPs)", "seconds": "equal time on this machine",
}  # fmt: skip
_LOW_IS_GOOD = ("PPL1", "patches to first token", "text to first token")

PLAN_HEAD = (
    "arm", "parameters", "FLOPs of a sample", "ms of a sample", "samples of an update", "runs for the rate", "samples",
)  # fmt: skip


def comparison_study_page(found: Sequence[Measured], plan: Planned, config: CompareConfig, recipe: str) -> str:
    """The page: what each arm costs, and for each matching the scores and what may be said about differences."""
    sections = [Section("What is compared", html.paragraphs(_story(found, config, recipe)) + _costs(plan, config))]
    for matching in config.match:
        some = [one for one in found if one.matching == matching]
        said = "".join(f"<li>{html.escape(line)}</li>" for line in comparison_lines(some))
        body = html.table(*_scores(some)) + html.paragraphs("What these figures show:") + f"<ul>{said}</ul>"
        sections.append(Section(f"At {_EQUAL[matching]}", body))
    return html.page("Comparison of objectives", sections)


def comparison_lines(found: Sequence[Measured]) -> list[str]:
    """For each score of some runs of one matching, how each arm differs from the first one, in words.

    Then what may be wrong: rates at the edge of those tried, and runs that diverged.
    """
    lines = []
    for name in _names(found):
        arms = {arm: of for arm in _arms(found) if (of := _of(found, arm, name))}
        first, *others = arms
        for arm in others:
            lines.append(_sentence(name, arm, first, mean_difference(arms[first], arms[arm])))
    return [*lines, *_doubts(found)]


def _doubts(found: Sequence[Measured]) -> list[str]:
    lines = []
    for arm in _arms(found):
        mine = [one for one in found if one.arm == arm]
        if mine[0].edge:
            lines.append(
                f"{arm}: its best learning rate, {mine[0].rate:g}, is the {mine[0].edge} tried: widen --rate-factors"
            )
        if lost := sum(math.isinf(one.trained.loss) for one in mine):
            lines.append(f"{arm}: {lost} of {len(mine)} runs diverged and are left out")
    return lines


def plan_rows(plan: Planned, config: CompareConfig) -> list[list[str]]:
    """What each arm costs and how much it will read, as rows below `PLAN_HEAD`."""
    rows = []
    for arm, cost in plan.costs.items():
        trials, number = plan.sweeps[arm]
        reads = [f"{plan.samples[arm, matching]:,} at {_EQUAL[matching]}" for matching in config.match]
        rows.append([
            arm, large_count(sum(cost.parameters.values())), with_prefix(cost.flops).strip(), f"{1000 * cost.seconds:.3g}",
            f"{cost.samples_per_update:.0f}", f"{trials} of {number:,} samples" if trials else "none", "; ".join(reads),
        ])  # fmt: skip
    return rows


def _story(found: Sequence[Measured], config: CompareConfig, recipe: str) -> str:
    several = (
        f"Means are of {config.seeds} seeds. Intervals of 95 % join Student's t over seeds and a bootstrap over images."
        if config.seeds > 1
        else "Each arm has one seed, so intervals are those over images alone, and say nothing about other seeds."
    )
    tried = len(config.rate_factors)
    rates = (
        f"The learning rate of each arm is the best of {tried} by its own held-out loss after "
        f"{config.sweep_share:.0%} of the first arm's budget."
        if tried > 1
        else "The learning rate is the recipe's."
    )
    return (
        f"All arms are runs of the recipe {recipe}: the same samples, order and schedule{_but(found)}. {rates} "
        f"{several} A difference is beyond noise if its interval leaves 0 out; of many differences, one in twenty does "
        "so by chance."
    )


def _but(found: Sequence[Measured]) -> str:
    """Which arms have another encoder, tokenizer or data than the first."""
    arms = {one.arm: one.trained.run for one in found}
    first = next(iter(arms.values()))
    own = {
        arm: [name for name in ("model", "tokenizer", "data", "images") if getattr(run, name) != getattr(first, name)]
        + ["model"] * hasattr(run, "language")
        for arm, run in arms.items()
    }
    differ = [f"{arm} in {', '.join(dict.fromkeys(names))}" for arm, names in own.items() if names]
    return f", and the same encoder but for settings of {'; '.join(differ)}" if differ else ", and the same encoder"


def _costs(plan: Planned, config: CompareConfig) -> str:
    total = (
        f"{counted(plan.runs, 'run')} after those for the learning rates; {with_prefix(plan.flops)}FLOPs and about "
        f"{long_duration(plan.seconds)} of training in all."
    )
    return html.table(PLAN_HEAD, plan_rows(plan, config)) + html.paragraphs(total)


def _scores(found: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of scores: an arm a row."""
    names, rows = _names(found), []
    for arm in _arms(found):
        mine = [one for one in found if one.arm == arm]
        seconds = sum(one.trained.seconds for one in mine) / len(mine)
        cells = [arm, f"{mine[0].trained.samples:,}", f"{seconds:,.0f}", f"{mine[0].rate:g}"]
        rows.append([*cells, *(_cell(_of(found, arm, name)) for name in names)])
    return ["arm", "samples", "seconds", "learning rate", *names], rows


def _cell(some: Sequence[Scores]) -> str:
    if not some:
        return "–"
    value, low, high = mean_interval(some)
    return f"{number_words(value)} ({number_words(low)} to {number_words(high)})"


def _sentence(name: str, arm: str, first: str, found: Difference) -> str:
    span = f"{signed_words(found.value)} ({signed_words(found.low)} to {signed_words(found.high)})"
    if not found.beyond_noise:
        return f"{name}: {arm} and {first} do not differ beyond noise, {span}"
    better = (found.value > 0) != (name in _LOW_IS_GOOD)
    return f"{name}: {arm} is {'better' if better else 'worse'} than {first}, {span}"


def _arms(found: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(one.arm for one in found))


def _names(found: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(name for one in found for name in one.scores))


def _of(found: Sequence[Measured], arm: str, name: str) -> list[Scores]:
    """The scores of this name of an arm's seeds."""
    return [one.scores[name] for one in found if one.arm == arm and name in one.scores]
