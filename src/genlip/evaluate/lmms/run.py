"""Running lmms-eval: a suite of its benchmarks on a multimodal LLM of genlip, with lmms-eval's own program.

In: a folder of a model, and a suite. Out: `SuiteScores`; results, answers and logs of lmms-eval in a folder for each task.

Each task has a process of its own. lmms-eval ends a failed run like a success, so a run counts when its results are there;
and it keeps sums in its modules (OCRBench), so a second run in one process would be wrong. Old results of a task stay until
the new ones are complete.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from genlip.evaluate.lmms.results import LOCAL, read_lmms_results, results_files
from genlip.evaluate.lmms.scores import SuiteScores, suite_scores
from genlip.evaluate.lmms.suite import Suite, SuiteTask, read_suite
from genlip.evaluate.result_files import evaluations_folder
from genlip.extras import MissingExtra
from genlip.model.fields import checked
from genlip.model.reading import read_json, read_text
from genlip.model.writing import write_json, write_text

__all__ = ["local_tasks", "measure_lmms"]

log = logging.getLogger(__name__)

_LOG, _SCORES = "log.txt", "scores.json"
_SPECIAL = ",'\"{}[]"  # what separates arguments of a model in lmms-eval
_FAILED = "Error during evaluation: "  # lmms-eval's line about a task that failed
_TASK_LINE = re.compile(r"""^task:\s*["']?(\w+)""", re.MULTILINE)
_NEEDS = {
    "java": "Java for the tokenizer of CIDEr: install it, so that the command java runs",
    "judge": "a language model that judges answers: set OPENAI_API_KEY",
}
_INSTALL = 'lmms-eval is not installed here: run `make lmms` and use .venv/lmms/bin/genlip, or pip install "genlip[lmms]"'


def measure_lmms(
    model: str | os.PathLike[str],
    suite: str | Path | Suite = "paper14",
    *,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    include_path: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    batch_size: int = 8,
    device: str = "",
    dtype: str = "auto",
    processes: int = 1,
    started: Callable[[SuiteTask, Path], None] = lambda task, log_file: None,
) -> SuiteScores:
    """Run the benchmarks of a suite with lmms-eval, and read what it found.

    model          a folder that a run of the task "mllm" has written
    suite          a name of the package, a YAML file, or a `Suite`
    tasks          names of some of its tasks; empty for all
    limit          ask only so many questions of each task, as a trial: averages are then refused
    include_path   a folder with task files of lmms-eval that take the place of tasks of the suite: of data on this machine
    out            folder of the results (default: evaluations/lmms.SUITE in the model's folder)
    batch_size     questions at a time
    device, dtype  where and in what the model computes; empty and "auto" choose by the machine
    processes      share the questions among so many processes, each with a model: one for each GPU
    started        called before each task, with the file of lmms-eval's messages

    A task that fails, or that needs a program which is not here, is logged and then named as missing. Raises `MissingExtra`
    without lmms-eval, and ValueError for an unknown task, a named task that needs what is not here, an odd limit where
    questions come in pairs, and a suite of which no task was measured.
    """
    suite = suite if isinstance(suite, Suite) else read_suite(suite)
    chosen, absent = _possible(suite.chosen(tasks), limit, named=bool(tasks))
    folder = _checked_model(model)
    if find_spec("lmms_eval") is None:
        raise MissingExtra(_INSTALL, name="lmms_eval")
    place = Path(out) if out else evaluations_folder(folder) / (f"lmms.{suite.name}" + (f".first-{limit}" if limit else ""))
    local = local_tasks(include_path, [task.task for task in chosen]) if include_path else {}
    options = {"--batch_size": batch_size, "--device": device or None, "--limit": limit}
    arguments = ["--model", "genlip", "--model_args", f"pretrained={folder},dtype={dtype}", *_given(options)]
    command = [*_program(processes), *arguments]
    for task in chosen:
        started(task, _partial(place, task) / _LOG)
        if reason := _run(task, command, place, local.get(task.task)):
            log.warning("%s: %s", task.task, reason)
            absent[task.task] = reason
    measured = [place / task.task for task in chosen if task.task not in absent]
    if not measured:
        raise ValueError(f"no task of {suite.name} was measured: {next(iter(absent.values()))}")
    scores = suite_scores(suite, read_lmms_results(measured), str(model))
    scores = replace(scores, missing={**scores.missing, **absent}, version=metadata.version("lmms_eval"))
    write_json(place / _SCORES, scores.to_json())
    return scores


def _possible(tasks: Sequence[SuiteTask], limit: int | None, named: bool) -> tuple[list[SuiteTask], dict[str, str]]:
    """The tasks that can be measured here, and why the others cannot. Raises ValueError for one that was named."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: it must be at least 1")
    possible, absent = list[SuiteTask](), dict[str, str]()
    for task in tasks:
        if task.pairs and limit and limit % 2:
            raise ValueError(f"limit is {limit}: {task.task} asks questions in pairs, it must be even")
        if _is_here(task.needs):
            possible.append(task)
            continue
        absent[task.task] = f"needs {_NEEDS[task.needs]}"
        if named:
            raise ValueError(f"{task.task} {absent[task.task]}")
        log.warning("%s is left out: it %s", task.task, absent[task.task])
    return possible, absent


def _is_here(need: str) -> bool:
    if need == "judge":
        return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("AZURE_API_KEY"))
    return not need or shutil.which(need) is not None


def _checked_model(model: str | os.PathLike[str]) -> Path:
    folder = Path(model).absolute()
    if not (folder / "config.json").is_file():
        raise ValueError(f"{model}: need the folder of a multimodal LLM that genlip has written: it has no config.json")
    if checked(read_json(folder / "config.json"), dict[str, Any], "config.json").get("model_type") == "genlip":
        raise ValueError(
            f"{model} holds a GenLIP, which answers no questions: need a multimodal LLM that was trained with one"
        )
    if bad := [sign for sign in str(folder) if sign in _SPECIAL]:
        raise ValueError(f"{folder}: lmms-eval cannot take a path with {bad[0]}: rename the folder")
    return folder


def local_tasks(folder: str | os.PathLike[str], tasks: Sequence[str]) -> dict[str, Path]:
    """The task files of a folder that stand for these tasks: by their line `task: NAME`, or their names without such a line.

    lmms-eval would silently take its own task of the same name. Raises ValueError for two files of one task, and for a
    folder without any.
    """
    found = dict[str, Path]()
    for file in sorted(Path(folder).absolute().rglob("*.yaml")):
        line = _TASK_LINE.search(read_text(file))
        name = (line[1] if line else file.stem).removesuffix(LOCAL)
        if name in found:
            raise ValueError(f"{file} and {found[name]} are both of the task {name}: leave one out")
        if name in tasks:
            found[name] = file
    if not found:
        raise ValueError(f"{folder}: no .yaml file of the tasks {', '.join(tasks)} in this folder")
    return found


def _given(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() if value is not None for word in (name, str(value))]


def _partial(place: Path, task: SuiteTask) -> Path:
    return place / f"{task.task}.partial"


def _program(processes: int) -> list[str]:
    """How lmms-eval is started."""
    if processes < 1:
        raise ValueError(f"processes is {processes}: it must be at least 1")
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *several, "-m", "lmms_eval"]


def _run(task: SuiteTask, command: Sequence[str], place: Path, local: Path | None) -> str:
    """Run one task into its folder. Returns why there are no results, or an empty text."""
    partial, final = _partial(place, task), place / task.task
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    named = ["--tasks", task.task]
    if local:
        name = f"{task.task}{LOCAL}"
        write_text(partial / "task" / f"{name}.yaml", f"include: {json.dumps(str(local))}\ntask: {name}\n")
        named = ["--tasks", name, "--include_path", str(partial / "task")]
    files = ["--log_samples", "--output_path", str(partial)]
    with (partial / _LOG).open("wb") as output:
        code = subprocess.run([*command, *named, *files], stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if not results_files(partial):
        return f"lmms-eval wrote no results{_told(partial / _LOG, code)}; see {partial / _LOG}"
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    return ""


def _told(log_file: Path, code: int) -> str:
    """What the messages of lmms-eval say about a failure, on one line."""
    lines = [line.strip() for line in log_file.read_text(encoding="utf8", errors="replace").splitlines() if line.strip()]
    errors = [line.partition(_FAILED)[2] for line in lines if _FAILED in line]
    last = errors[-1].partition(". Please set")[0] if errors else lines[-1] if lines else ""
    return f" (exit status {code})" + (f": {last[:300]}" if last else "")
