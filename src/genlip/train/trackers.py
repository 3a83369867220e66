"""Trackers: other programs that show the figures of a run: TensorBoard, Weights & Biases, trackio.

In: scalars and generated captions by step. Out: the files of the program, in the run's folder and without an account;
WANDB_MODE=online sends to Weights & Biases at once. Each is optional: the log holds everything that they get.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from difflib import get_close_matches
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import yaml

from genlip.evaluate.captioning.generated import GeneratedCaption

__all__ = ["TRACKERS", "Recorder", "open_recorder"]


class Recorder(Protocol):
    """What each tracker implements."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Figures after `step` updates, by names such as train/loss."""

    def spoken(self, step: int, samples: Sequence[GeneratedCaption]) -> None:
        """Captions of held-out images after `step` updates."""

    def close(self) -> None:
        """Write everything; no further call follows."""


def open_recorder(name: str, out: Path, step: int, run: Mapping[str, Any]) -> Recorder:
    """Start to record at step 0, or continue after `step` updates; `run` is the resolved recipe.

    Raises ValueError for a name that is unknown or whose package is missing.
    """
    if name not in TRACKERS:
        near = get_close_matches(name, TRACKERS, n=1)
        raise ValueError(f"no tracker {name!r}: need {', '.join(TRACKERS)}" + (f"; did you mean {near[0]}?" if near else ""))
    with redirect_stdout(sys.stderr):  # trackio prints, and standard output is for results
        return TRACKERS[name](out, step, run)


class _TensorBoard:
    """Event files in `tensorboard/`; look at them with `tensorboard --logdir OUT`."""

    def __init__(self, out: Path, step: int, run: Mapping[str, Any]) -> None:
        _package("tensorboard")
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        # hides what an earlier process wrote after its last checkpoint, and an earlier run in this folder
        self.writer = writer(str(out / "tensorboard"), purge_step=step + 1 if step else 0)
        settings = yaml.safe_dump(dict(run), sort_keys=False, allow_unicode=True)
        self.writer.add_text("run", "".join(f"    {line}\n" for line in settings.splitlines()), step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def spoken(self, step: int, samples: Sequence[GeneratedCaption]) -> None:
        rows = (f"| {' | '.join(map(_markdown, row))} |" for row in _rows(samples))
        self.writer.add_text("spoken", "\n".join([f"| {' | '.join(_COLUMNS)} |", "| --- | --- | --- | --- |", *rows]), step)

    def close(self) -> None:
        self.writer.close()


class _WandB:
    """A run of project genlip in `wandb/`, offline unless WANDB_MODE says otherwise; send it later with `wandb sync`."""

    def __init__(self, out: Path, step: int, run: Mapping[str, Any]) -> None:
        wandb = _package("wandb")
        self.table = wandb.Table
        self.run = wandb.init(
            project="genlip",
            name=out.name,
            id=_identity(out / "wandb" / "genlip-id", anew=step == 0),
            resume="allow",
            dir=str(out),
            config=dict(run),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True),  # the panel uses the terminal
        )
        self.run.define_metric("*", step_metric="step")  # its own counter cannot go back, as a resumed run does

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def spoken(self, step: int, samples: Sequence[GeneratedCaption]) -> None:
        self.run.log({"step": step, "spoken": self.table(columns=list(_COLUMNS), data=_rows(samples))})

    def close(self) -> None:
        self.run.finish()


class _Trackio:
    """A run of project genlip in `trackio/`; look at it with `TRACKIO_DIR=OUT/trackio trackio show`."""

    def __init__(self, out: Path, step: int, run: Mapping[str, Any]) -> None:
        os.environ.setdefault("TRACKIO_DIR", str((out / "trackio").absolute()))  # read once, when it is imported
        self.trackio = _package("trackio")
        self.run = self.trackio.init(
            project="genlip",
            name=_identity(out / "trackio" / "genlip-id", anew=step == 0, prefix=f"{out.name}-"),
            resume="allow",
            config=dict(run),
            embed=False,
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def spoken(self, step: int, samples: Sequence[GeneratedCaption]) -> None:
        self.run.log({"spoken": self.trackio.Table(columns=list(_COLUMNS), data=_rows(samples))}, step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self.trackio.finish()


TRACKERS: dict[str, Callable[[Path, int, Mapping[str, Any]], Recorder]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WandB,
    "trackio": _Trackio,
}

_COLUMNS = ("image", "true", "said", "exact")


def _rows(samples: Sequence[GeneratedCaption]) -> list[list[str]]:
    return [[one.key, one.caption, one.spoken, "yes" if one.exact else "no"] for one in samples]


def _markdown(text: str) -> str:
    """A text as the cell of a Markdown table."""
    return escape(" ".join(text.split())).replace("|", "&#124;")


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(
            f'tracker {name}: its package is not installed; run pip install "genlip[{name}]", or leave it out of trackers'
        ) from None


def _identity(file: Path, anew: bool, prefix: str = "") -> str:
    """The identity of the run in a tracker, kept in a file so that a resumed run has the same one."""
    if anew or not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(prefix + secrets.token_hex(4), encoding="utf8")
    return file.read_text(encoding="utf8")
