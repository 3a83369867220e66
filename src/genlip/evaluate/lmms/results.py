"""Results of lmms-eval: the files that it writes with `--output_path`, as figures of tasks.

In: `…_results.json` files of one model, or folders that hold them. Out: an `LmmsResults`. Each task must stand in one
file: of two runs of a task it would be chance which one counts. Files of several models are refused, for the same reason.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genlip.model.fields import checked
from genlip.model.reading import read_json

__all__ = ["LmmsResults", "TaskResult", "read_lmms_results", "results_files"]

LOCAL = "_local"  # after the name of a task: the same task on data of this machine; lmms-eval needs another name
_FILE = re.compile(r"\d[\d_T-]*_results\.json")  # 20261128_071400_results.json


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a file holds of one task.

    Attributes:
        task: its name.
        file: where it stands.
        figures: by key, as in "anls,none"; None where lmms-eval wrote no number.
        asked: questions that were asked.
        of: questions of the set.
    """

    task: str
    file: Path
    figures: Mapping[str, float | None]
    asked: int
    of: int

    @property
    def is_whole(self) -> bool:
        """Whether all questions were asked."""
        return self.asked == self.of

    def figure(self, key: str) -> float:
        """The figure of a key. Raises ValueError that names what is there."""
        if key not in self.figures:
            there = ", ".join(name for name in self.figures if "_stderr" not in name)
            raise ValueError(f"no figure {key}, but {there or 'none'}")
        value = self.figures[key]
        if value is None or not math.isfinite(value):
            raise ValueError(f"{key} is no number, but {value}")
        return value

    def error(self, key: str) -> float | None:
        """The standard error of a figure, None where lmms-eval has none."""
        metric, _, name = key.partition(",")
        value = self.figures.get(f"{metric}_stderr,{name}")
        return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class LmmsResults:
    """Results of one model.

    Attributes:
        model: its folder or id, as lmms-eval was called.
        tasks: results by name of the task.
    """

    model: str
    tasks: Mapping[str, TaskResult]


def read_lmms_results(paths: Iterable[str | os.PathLike[str]]) -> LmmsResults:
    """The results in files and folders. Raises ValueError for what is no result, two models, and a task in two files."""
    model, first, tasks = "", Path(), dict[str, TaskResult]()
    for file in _files(paths):
        try:
            name, found = _read(file)
        except ValueError as error:
            raise ValueError(
                f"{error}" if str(file) in str(error) else f"{file}: not results of lmms-eval: {error}"
            ) from None
        if model and name != model:
            raise ValueError(f"{file} is of {name}, and {first} of {model}: need results of one model")
        model, first = name, first if model else file
        for task in found:
            if task.task in tasks:
                raise ValueError(f"{task.task} stands in {tasks[task.task].file} and in {file}: leave one out")
            tasks[task.task] = task
    return LmmsResults(model=model, tasks=tasks)


def results_files(folder: Path) -> list[Path]:
    """The files of results in a folder. Tasks write others of similar names, as mmbench_en_dev_static_results.json."""
    return sorted(file for file in folder.rglob("*_results.json") if _FILE.fullmatch(file.name))


def _files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = results_files(path)
            if not inside:
                raise ValueError(f"{path}: no file …_results.json of lmms-eval in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"{path}: no such file or folder")
    return found


def _read(file: Path) -> tuple[str, list[TaskResult]]:
    stored = checked(read_json(file), dict[str, Any], "it")
    for key in ("results", "n-samples", "config"):
        checked(stored.get(key), dict[str, Any], key)
    config = stored["config"]
    skipped, tasks = checked(config.get("offset") or 0, int, "config.offset"), []
    for task, figures in stored["results"].items():
        if task in stored["n-samples"]:  # groups have none
            asked, of = _questions(stored["n-samples"][task], f"n-samples.{task}")
            figures = checked(figures, dict[str, Any], f"results.{task}")
            numbers = {key: _number(value) for key, value in figures.items() if "," in key}
            name = task.removesuffix(LOCAL)
            tasks.append(TaskResult(task=name, file=file, figures=numbers, asked=min(asked, max(of - skipped, 0)), of=of))
    called = str(config.get("model_args"))
    named = re.search(r"(?:^|,)pretrained=([^,]+)", called)
    return named[1] if named else f"{config.get('model')} ({called})", tasks


def _questions(entry: Any, name: str) -> tuple[int, int]:
    """Questions that were asked, and those of the set."""
    asked, of = (checked(entry, dict[str, Any], name).get(key) for key in ("effective", "original"))
    of = checked(of, int, f"{name}.original")
    asked = checked(int(asked) if isinstance(asked, float) else asked, int, f"{name}.effective")  # --limit 8 is 8.0 there
    return (of if asked < 0 else asked), of  # --limit -1 is none


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
