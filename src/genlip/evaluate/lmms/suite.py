"""Suite: a list of lmms-eval tasks, with the figure of each task that counts and the averages that are printed.

In: the name of a suite of the package, or a YAML file of the same form. Out: a `Suite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from genlip.model.fields import check_fields, checked, read_fields, shown
from genlip.model.reading import parse_yaml, read_yaml
from genlip.suggestions import did_you_mean

__all__ = ["Suite", "SuiteRow", "SuiteTask", "read_suite", "suite_names"]


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """A benchmark.

    Attributes:
        task: its name in lmms-eval.
        title: its name in tables.
        group: the average that it counts in.
        figure: the key of its figure in lmms-eval's results, as in "anls,none".
        scale: what the figure is multiplied by, so that all lie between 0 and 100; CIDEr may be larger.
        pairs: two questions about each image count together.
        whole: a part of the questions gives no figure.
        needs: "java" for the tokenizer of CIDEr, "judge" for the API of a language model that judges answers; or nothing.
    """

    task: str
    title: str
    group: str
    figure: str
    scale: float
    pairs: bool = False
    whole: bool = False
    needs: Literal["", "java", "judge"] = ""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class SuiteRow:
    """Published averages of another model, to print beside.

    Attributes:
        encoder: the vision encoder.
        language_model: the language model that reads it.
        all: the average over all tasks.
        groups: averages by group, where they are published.
    """

    encoder: str
    language_model: str
    all: float
    groups: dict[str, float] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Benchmarks and their averages. The average over all is the plain mean over tasks, not over groups.

    Attributes:
        name: as `--suite` takes it.
        title: what it is.
        groups: names of the averages, in the order of tables.
        tasks: the benchmarks, in the order of tables.
        rows: published averages of other models.
    """

    name: str
    title: str
    groups: tuple[str, ...]
    tasks: tuple[SuiteTask, ...]
    rows: tuple[SuiteRow, ...] = ()

    def __post_init__(self) -> None:
        names = [task.task for task in self.tasks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the task {min(twice)} stands twice")
        groups = {task.group for task in self.tasks} | {name for row in self.rows for name in row.groups or {}}
        if unknown := groups - set(self.groups):
            raise ValueError(f"the group {min(unknown)!r} is not one of {', '.join(self.groups)}")

    def chosen(self, names: Sequence[str] = ()) -> tuple[SuiteTask, ...]:
        """The tasks of these names, in the order of the suite; all without names. Raises ValueError for an unknown one."""
        known = {task.task: task for task in self.tasks}
        for name in names:
            if name not in known:
                raise ValueError(f"{name} is no task of {self.name}{did_you_mean(name, known) or _listed(known)}")
        return tuple(task for task in self.tasks if not names or task.task in names)


def suite_names() -> list[str]:
    """The suites in the package."""
    names = (item.name for item in files("genlip.evaluate.lmms").joinpath("suites").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def read_suite(name: str | Path) -> Suite:
    """A suite by its name in the package, or from a YAML file. Raises ValueError that says what is wrong with it."""
    if str(name) in suite_names():
        file = files("genlip.evaluate.lmms").joinpath("suites", f"{name}.yaml")
        return _suite(parse_yaml(file.read_text(encoding="utf8"), str(name)), str(name))
    if not str(name).endswith((".yaml", ".yml")):
        known = suite_names()
        hint = did_you_mean(str(name), known) or f"; the suites are {', '.join(known)}"
        raise ValueError(f"no suite {name}: need one of the package or a .yaml file{hint}")
    return _suite(read_yaml(name), str(name))


def _suite(stored: Any, name: str) -> Suite:
    try:
        stored = dict(checked(stored, dict[str, Any], "it"))
        for key, kind in (("tasks", SuiteTask), ("rows", SuiteRow)):
            entries = checked(stored.get(key, []), list[Any], key)
            stored[key] = tuple(read_fields(kind, entry, f"{key}[{i}]") for i, entry in enumerate(entries))
        stored["groups"] = tuple(checked(stored.get("groups", []), list[str], "groups"))
        if not stored["tasks"]:
            raise ValueError(f"tasks is {shown(stored['tasks'])}: need at least one")
        return read_fields(Suite, stored)
    except ValueError as error:
        raise ValueError(f"{name}: not a suite: {error}") from error


def _listed(known: Sequence[str] | dict[str, SuiteTask]) -> str:
    return f"; the tasks are {', '.join(known)}"
