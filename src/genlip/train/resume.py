"""Resuming: the checkpoint from which a run continues, and whether that checkpoint is of the same run.

In: a `Run` and what the user allows. Out: the newest checkpoint in the run's folder, or None. A run with other settings is
another run, with two exceptions: the same data under another path, and a later end if the user asks for it.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any, Literal

from genlip.data.sources.procedural import is_procedural
from genlip.recipes.recipe import differences
from genlip.recipes.run import Run
from genlip.train import checkpoints
from genlip.train.schedule import learning_rate

__all__ = ["Resume", "branch", "checkpoint_to_resume"]

log = logging.getLogger(__name__)

Resume = Literal["auto", "must", "never"]

_ENDS = ("steps", "epochs", "samples", "tokens")


def checkpoint_to_resume(run: Run, resume: Resume) -> Path | None:
    """The newest checkpoint of `run.out`, or None. Raises ValueError if it is damaged or must not be resumed from."""
    newest = checkpoints.latest(run.out)
    if newest is None:
        if resume == "must":
            raise ValueError(f"{run.out} holds no checkpoint to go on from: start without --resume must")
        return None
    checkpoints.check_whole(newest)
    before = _moved(checkpoints.read_run(newest), run)
    changed = differences(before, run)
    if (
        changed
        and not differences(dataclasses.replace(before, **{name: getattr(run, name) for name in _ENDS}), run)
        and _later(before, run)
    ):
        _extend(run, before, newest, resume, changed)
    elif changed:
        raise ValueError(
            f"{run.out} holds a run with other settings ({'; '.join(changed)}): undo them, or begin another run with "
            f"another --out; from these weights: --init_from {newest} --out NEW"
        )
    if resume == "never":
        raise ValueError(f"{run.out} holds a run ({newest.name}): go on with --resume auto, or choose another --out")
    return newest


def _moved(before: Run, run: Run) -> Run:
    """The earlier run with the present paths of its data. The loader checks that the number of examples is the same."""
    data = before.data
    for name in ("source", "held_out"):
        then, now = getattr(data, name), getattr(run.data, name)
        if then == now or not (then and now) or is_procedural(then) or is_procedural(now):
            continue
        if _place(then) != _place(now):
            log.warning("data.%s was %s and is %s: it is taken for the same, moved", name, then, now)
        data = dataclasses.replace(data, **{name: now})
    return dataclasses.replace(before, data=data)


def _place(spec: str) -> str:
    return spec if "://" in spec else str(Path(spec).expanduser().resolve())


def _later(before: Run, run: Run) -> bool:
    """Whether no end of the run is earlier than it was; 0 means no end."""
    ends = ((getattr(before, name), getattr(run, name)) for name in _ENDS)
    return all(new >= old > 0 or new == old or new == 0 for old, new in ends)


def _extend(run: Run, before: Run, newest: Path, resume: Resume, changed: list[str]) -> None:
    """Warn that a run becomes longer. Raises ValueError unless the user asked for it, because its learning rate rises."""
    if resume != "must":
        raise ValueError(
            f"{run.out} holds a shorter run ({'; '.join(changed)}): --resume must makes it longer, and raises its learning "
            f"rate to that of the longer run at this point; or begin another from its weights: --init_from {newest} "
            "--out NEW"
        )
    counts = checkpoints.read_progress(newest)
    rates = [f"{_rate_at(one, counts):.2g}" for one in (before, run)]
    log.warning("the run becomes longer (%s): its learning rate goes from %s to %s", "; ".join(changed), *rates)


def _rate_at(run: Run, counts: dict[str, Any]) -> float:
    """The learning rate of a run at what a checkpoint's `state.json` says is done."""
    examples = counts["data"]["of"]["examples"]  # of a mixture: how often each part is read, and its length
    epoch = examples if isinstance(examples, int) else sum(read for read, _ in examples)
    done = {name: counts[name] for name in ("samples", "tokens")} | {
        "steps": counts["step"],
        "epochs": counts["seen"] / epoch,
    }
    return learning_rate(run.optimizer, max(done[name] / end for name in _ENDS if (end := getattr(run, name))))


def branch(checkpoint: Path, run: Run) -> Path:
    """Copy a checkpoint of another run into `run.out`, from which `run` then goes on to an end of its own.

    The runs may differ in their ends alone, and must have the same learning rate at this point, as with
    `optimizer.schedule: stable` before the cooldown of both. Without warm-up, whose length is a share of the run, `run` is
    then what it had been from its own beginning. Returns the copy. Raises ValueError where that is not so, or where
    `run.out` holds a run.
    """
    before, counts = checkpoints.read_run(checkpoint), checkpoints.read_progress(checkpoint)
    if changed := differences(dataclasses.replace(before, **{name: getattr(run, name) for name in _ENDS}), run):
        raise ValueError(f"{checkpoint}: a branch may differ in its end alone, and differs in {'; '.join(changed)}")
    old, new = _rate_at(before, counts), _rate_at(run, counts)
    if not math.isclose(old, new, rel_tol=1e-6):
        raise ValueError(
            f"{checkpoint}: the learning rate was {old:.3g} here, and is {new:.3g} in the branch: branch off before both "
            "cool down, with optimizer.schedule stable"
        )
    if checkpoints.latest(run.out) is not None:
        raise ValueError(f"{run.out} holds a run: choose another out for the branch")
    return checkpoints.copy_for(checkpoint, run)
