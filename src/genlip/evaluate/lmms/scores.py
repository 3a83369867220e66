"""Scores of a suite: the figures of its tasks on one scale, and their averages.

In: a suite and results of lmms-eval. Out: `SuiteScores`, and a table of them beside published rows. An average is the mean
over all its tasks or it is refused, with the names of the missing tasks: a mean over fewer tasks is another number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from genlip.evaluate.lmms.results import LmmsResults, TaskResult
from genlip.evaluate.lmms.suite import Suite, SuiteTask

__all__ = ["SuiteScores", "TaskScore", "suite_scores", "suite_table"]

ALL = "ALL AVG"


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """The score of a task.

    Attributes:
        value: the figure times the scale of the suite.
        margin: half the width of its 95 % interval, 1.96 standard errors; None where lmms-eval has no standard error.
        asked: questions that were asked.
        of: questions of the set.
    """

    value: float
    margin: float | None
    asked: int
    of: int


@dataclass(frozen=True, kw_only=True)
class SuiteScores:
    """Scores of one model.

    Attributes:
        suite: its tasks, groups and published rows.
        model: the model, as tables name it.
        tasks: scores by name of the task; those that are there.
        missing: for each other task, why it is missing.
        version: of lmms-eval, where it is known: its results do not hold it.
    """

    suite: Suite
    model: str
    tasks: Mapping[str, TaskScore]
    missing: Mapping[str, str]
    version: str = ""

    def average(self, group: str = "") -> float:
        """The mean of a group, or of all tasks. Raises ValueError that names the tasks without a score of all questions."""
        tasks = [task.task for task in self.suite.tasks if group in ("", task.group)]
        if absent := [task for task in tasks if task not in self.tasks]:
            raise ValueError(f"no {_average(group)}: no figure of {', '.join(absent)}")
        if part := [task for task in tasks if self.tasks[task].asked != self.tasks[task].of]:
            raise ValueError(f"no {_average(group)}: {', '.join(part)} only of the first questions")
        return fmean(self.tasks[task].value for task in tasks)

    def averages(self) -> dict[str, float | None]:
        """By group, then over all as "ALL AVG"; None where it is refused."""
        found: dict[str, float | None] = {}
        for group in (*self.suite.groups, ""):
            try:
                found[group or ALL] = self.average(group)
            except ValueError:
                found[group or ALL] = None
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it but the published rows, JSON-ready."""
        return {
            "suite": self.suite.name,
            "model": self.model,
            "lmms_eval": self.version,
            "tasks": {task: vars(score) for task, score in self.tasks.items()},
            "missing": dict(self.missing),
            "averages": self.averages(),
        }


def suite_scores(suite: Suite, results: LmmsResults, model: str = "") -> SuiteScores:
    """The scores of a suite in results of lmms-eval; `model` is its name in tables (default: as lmms-eval was called)."""
    scores, missing = dict[str, TaskScore](), dict[str, str]()
    for task in suite.tasks:
        try:
            scores[task.task] = _score(task, results.tasks.get(task.task))
        except ValueError as error:
            missing[task.task] = str(error)
    return SuiteScores(suite=suite, model=model or results.model, tasks=scores, missing=missing)


def _score(task: SuiteTask, found: TaskResult | None) -> TaskScore:
    """Raises ValueError that says why there is none."""
    if found is None:
        raise ValueError("not in the results")
    if task.whole and not found.is_whole:
        raise ValueError(f"{found.asked:,} of {found.of:,} questions give no figure")
    error = found.error(task.figure)
    margin = None if error is None else 1.96 * error * task.scale
    return TaskScore(value=found.figure(task.figure) * task.scale, margin=margin, asked=found.asked, of=found.of)


def suite_table(scores: SuiteScores) -> str:
    """A text: each task, the averages beside the published rows, and the reasons why averages are refused."""
    suite, averages = scores.suite, scores.averages()
    version = f", lmms-eval {scores.version}" if scores.version else ""
    tasks = [("group", "benchmark", "score", "95 % interval", "questions"), *(_task(scores, task) for task in suite.tasks)]
    head = ("encoder", "language model", *suite.groups, ALL)
    rows = [(row.encoder, row.language_model, *_of_row(suite, row.groups or {}, row.all)) for row in suite.rows]
    own = (scores.model, "", *(_shown(averages[name]) for name in (*suite.groups, ALL)))
    parts = [f"{scores.model}: {suite.title}{version}", _columns(tasks), _columns([head, *rows, own])]
    if refused := _refused(scores):
        parts.append("\n".join(refused))
    return "\n\n".join(parts)


def _task(scores: SuiteScores, task: SuiteTask) -> tuple[str, ...]:
    if task.task not in scores.tasks:
        return task.group, task.title, "–", "", scores.missing.get(task.task, "")
    score = scores.tasks[task.task]
    margin = "" if score.margin is None else f"± {score.margin:.2f}"
    part = f"{score.asked:,}" if score.asked == score.of else f"first {score.asked:,} of {score.of:,}"
    return task.group, task.title, f"{score.value:.2f}", margin, part


def _of_row(suite: Suite, groups: Mapping[str, float], all_tasks: float) -> list[str]:
    return [*(_shown(groups.get(name), 1) for name in suite.groups), _shown(all_tasks, 1)]


def _refused(scores: SuiteScores) -> list[str]:
    lines = []
    for group in (*scores.suite.groups, ""):
        try:
            scores.average(group)
        except ValueError as error:
            lines.append(str(error))
    return lines


def _average(group: str) -> str:
    return f"average of {group}" if group else ALL


def _shown(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows with their columns aligned."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
