"""Tracking: what a run shows to the user while it trains, and what it stores.

In: events of the loop. Out: a panel in a terminal (plain lines elsewhere), one JSON object per event in `log.jsonl`, small
images in `spoken/`, and the same figures for the trackers that the recipe names. Every event is written to the log at once,
and the run stops if it cannot be; a tracker that fails is no longer used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console

from genlip.data.examples import Unusable
from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.model.writing import naming
from genlip.report.formatting import clock, one_line
from genlip.report.html import thumbnail
from genlip.terminal import harmless
from genlip.train.progress_panel import Panel
from genlip.train.run_log import LOG, read_log
from genlip.train.trackers import Recorder, open_recorder

__all__ = ["Tracker", "free_name", "read_log", "writing"]

_THUMBNAIL = 256  # pixels, the longer side


class Tracker:
    """Shows and stores the events of a run. Use as a context.

    out       folder of the run, which exists
    step      updates already done: 0 starts a new log and renames an older one
    trackers  "tensorboard", "wandb", "trackio"
    run       the resolved recipe as plain values, stored with the start
    console   where messages and the panel are shown (default: standard error)
    active    false on all ranks but one: these show nothing, and store only unusable samples
    progress  share of the run that is done, for the panel
    file      the log's name; an inactive tracker needs one of its own, such as log.rank-1.jsonl
    """

    def __init__(
        self,
        out: Path,
        step: int,
        trackers: Sequence[str] = (),
        run: Mapping[str, Any] | None = None,
        console: Console | None = None,
        active: bool = True,
        file: str = LOG,
        progress: float = 0.0,
    ) -> None:
        self.out, self.step, self.run, self.active = out, step, run, active
        self.names = trackers if active else ()
        self.console = console or Console(stderr=True)
        self.path, self.progress = out / file, progress
        self.recorders: dict[str, Recorder] = {}
        self.panel: Panel | None = None
        self._log: TextIO | None = None
        self._stack = ExitStack()
        self._pictured: set[str] = set()

    def __enter__(self) -> Tracker:
        with ExitStack() as stack:
            for name in self.names:
                self.recorders[name] = open_recorder(name, self.out, self.step, self.run or {})
                stack.callback(self._close, name)
            if self.active:
                self._log = stack.enter_context(_open_log(self.path, anew=self.step == 0))
            if self.active and self.console.is_interactive:
                self.panel = stack.enter_context(Panel(str(self.out), self.console, step=self.step, progress=self.progress))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with writing(self.path):  # closing writes what is left
            self._stack.close()

    def event(self, kind: str, **values: Any) -> None:
        """Store an event: one line of the log. Numbers that are not finite become null, which JSON can hold."""
        if self._log is None:
            if kind != "skipped" or self.path.name == LOG:
                return
            self._log = self._stack.enter_context(_open_log(self.path))
        with writing(self.path):
            self._log.write(json.dumps(_finite({"event": kind, "time": round(time.time(), 3), **values})) + "\n")
            self._log.flush()

    def start(self, **facts: Any) -> None:
        """Store the recipe of the run and facts about it and the machine."""
        self.event("start", **facts, run=self.run)

    def train(self, step: int, progress: float, **metrics: float | None) -> None:
        """Store and show the figures of recent updates; `progress` is the share of the run that is done."""
        self.event("train", step=step, progress=round(progress, 6), **metrics)
        self._record(lambda recorder: recorder.scalars(step, _numbers("train", metrics)))
        if self.panel is not None:
            self.panel.show(step=step, progress=progress, **metrics)
        else:
            self.say(_train_line(step, progress, metrics))

    def held_out(self, step: int, unit: str = "nats per token", **metrics: float | None) -> None:
        """Store and show what was measured on held-out samples: `loss` and whatever else the task measures."""
        self.event("held_out", step=step, unit=unit, **metrics)
        self._record(lambda recorder: recorder.scalars(step, _numbers("held_out", metrics)))
        if self.panel is not None:
            self.panel.show(held_out=metrics["loss"], picture_gain=metrics.get("picture_gain"))
        found = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())
        self.say(f"step {step}: held-out {found} {unit}".rstrip())

    def spoken(self, step: int, samples: Sequence[GeneratedCaption]) -> None:
        """Store and show generated captions of held-out images; each image is stored once, small, in `spoken/`."""
        if not self.active or not samples:
            return
        said = [
            {"key": one.key, "true": one.caption, "spoken": one.spoken, "exact": one.exact, "image": self._picture(one)}
            for one in samples
        ]
        self.event("spoken", step=step, samples=said)
        self._record(lambda recorder: recorder.spoken(step, samples))
        if self.panel is not None:
            self.panel.show(true=samples[0].caption, spoken=samples[0].spoken)
        else:
            exact = sum(one.exact for one in samples)
            self.say(
                f"step {step}: {exact} of {len(samples)} captions exact, the first: {one_line(samples[0].spoken, 100)!r}"
            )

    def say(self, text: str) -> None:
        """Show a line to the user."""
        if self.active:
            with suppress(OSError):  # the terminal may have been closed
                self.console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)

    def _picture(self, one: GeneratedCaption) -> str | None:
        """The path of the stored image within the folder of the run; None if the image cannot be read."""
        name = f"spoken/{hashlib.sha256(one.key.encode('utf8', 'replace')).hexdigest()[:12]}.png"
        if name not in self._pictured:
            try:
                image = thumbnail(one.kept_image, _THUMBNAIL)
            except Unusable:
                return None
            with writing(self.out / name):
                (self.out / "spoken").mkdir(exist_ok=True)
                image.save(self.out / name)
            self._pictured.add(name)
        return name

    def _record(self, tell: Callable[[Recorder], None]) -> None:
        """Call all trackers; one that fails is not used any more."""
        for name, recorder in list(self.recorders.items()):
            try:
                tell(recorder)
            except Exception as error:  # an error in another program must not end the run
                self._drop(name, error)

    def _close(self, name: str) -> None:
        recorder = self.recorders.pop(name, None)
        try:
            if recorder is not None:
                recorder.close()
        except Exception as error:
            self._drop(name, error)

    def _drop(self, name: str, error: Exception) -> None:
        self.recorders.pop(name, None)
        self.say(f"{name} failed and records no more of this run, {LOG} does: {type(error).__name__}: {error}")


def writing(file: Path) -> AbstractContextManager[None]:
    """A context in which errors name the file that could not be written."""
    return naming(file, "make room, and start the same command again")


def _open_log(path: Path, anew: bool = False) -> TextIO:
    """A log to append to; an incomplete last line of a process that was killed is ended first."""
    if anew and path.exists():
        path.rename(free_name(path))
    whole = not path.exists() or not path.stat().st_size or _last_byte(path) == b"\n"
    file = path.open("a", encoding="utf8")
    file.write("" if whole else "\n")
    return file


def free_name(path: Path) -> Path:
    """log-1.jsonl beside log.jsonl, model-1 beside model, or the next number that is free."""
    number = 1
    while (name := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return name


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()


def _finite(value: Any) -> Any:
    """The same value with None for what is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _numbers(group: str, metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The finite figures, by names such as train/loss."""
    return {f"{group}/{name}": value for name, value in metrics.items() if value is not None and math.isfinite(value)}


def _train_line(step: int, progress: float, metrics: Mapping[str, Any]) -> str:
    """The figures of recent updates as one line."""
    left = metrics.get("left")
    if left is None:
        left = metrics["seconds"] * (1 - progress) / max(progress, 1e-9)
    return (
        f"{progress:4.0%}  step {step}  loss {metrics['loss']:.3f}  {metrics['samples_per_s']:.0f} samples/s"
        f"  {metrics['tokens_per_s']:.0f} tokens/s  lr {metrics['learning_rate']:.1e}  {clock(left)} left"
    )
