"""Cost of a sample: work, time and parameters of an arm, measured before a study begins.

In: a `Run`. Out: its `Cost`. Work is what the task counts for real samples of the data. Time is that of some updates of the
training engine on this machine, with the optimizer and everything else.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genlip.data.packing import packs_by_shape
from genlip.model.reading import read_json
from genlip.model.writing import write_json
from genlip.recipes.recipe import fingerprint, load_recipe
from genlip.recipes.run import Run
from genlip.train.loop import train_model
from genlip.train.run_log import read_log
from genlip.train.task import task_class

__all__ = ["Cost", "measure_cost", "stored_costs"]

_SAMPLES = 256  # whose work is counted
_UPDATES, _IGNORED = 12, 4  # that are timed, and the first of them, which are slower


class Cost(NamedTuple):
    """What a sample of an arm costs in training.

    Attributes:
        flops: of a forward and a backward pass over a mean sample.
        seconds: on this machine.
        samples_per_update: mean number.
        parameters: by part of the model.
    """

    flops: float
    seconds: float
    samples_per_update: float
    parameters: Mapping[str, int]


def measure_cost(run: Run, scratch: Path) -> Cost:
    """The cost of a sample of a run; `scratch` is a folder that is written and removed."""
    flops, parameters = _counted(run)
    short = dataclasses.replace(
        run, out=str(scratch), steps=_UPDATES, epochs=0, samples=0, tokens=0, log_every=1, evaluate_every=_UPDATES,
        spoken=0, data=dataclasses.replace(run.data, held_out_samples=2), threads=run.threads or torch.get_num_threads(),
    )  # fmt: skip
    shutil.rmtree(scratch, ignore_errors=True)
    train_model(short)
    timed = read_log(scratch, "train")[_IGNORED:]
    seconds = statistics.median(1 / event["samples_per_s"] for event in timed)
    used = statistics.mean(event["samples_per_s"] * event["seconds_per_step"] for event in timed)
    shutil.rmtree(scratch)
    return Cost(flops, seconds, used, parameters)


def _counted(run: Run) -> tuple[float, dict[str, int]]:
    """Work of a mean sample, and parameters by part."""
    kind: Any = task_class(run)
    source = kind.open_source(run, run.data.source)
    task = kind(run, kind.find_processor(run, source, None))
    reader = task.reader(source)
    samples, _ = reader.some(_SAMPLES)
    if not samples:
        raise ValueError(f"{run.data.source}: none of {_SAMPLES} examples can be used with these settings")
    packs = (reader.pack([samples[n] for n in chosen]) for chosen in packs_by_shape(samples, run.packing.max_tokens))
    with torch.device("meta"):
        model = task.build(task.attention(torch.device("cpu"), torch.float32))
    parts = Counter[str]()
    for name, parameter in model.named_parameters():
        parts[name.split(".")[0]] += parameter.numel()
    return sum(task.flops(pack) for pack in packs) / len(samples), dict(parts)


def stored_costs(wanted: Mapping[str, tuple[str | Path, Sequence[str]]], out: Path) -> dict[str, Cost]:
    """The costs of several variants, each a recipe with settings, by name.

    OUT/costs.json keeps all that were measured, so that a study goes on with the numbers of samples that it began with.
    """
    file = out / "costs.json"
    stored: dict[str, Any] = read_json(file) if file.is_file() else {}
    runs = {name: load_recipe(recipe, overrides) for name, (recipe, overrides) in wanted.items()}
    keys = {name: f"{name} {fingerprint(run)}" for name, run in runs.items()}
    for name, key in keys.items():
        if key not in stored:
            stored[key] = measure_cost(runs[name], out / "timing")._asdict()
            write_json(file, stored)
    return {name: Cost(*(stored[key][field] for field in Cost._fields)) for name, key in keys.items()}
