"""Tracking: what a run tells its user while it trains, and what stays in `log.jsonl`.

In: events of the loop. Out: a progress line in a terminal (plain lines elsewhere), and one JSON object per event on disk.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Tracker", "read_log"]


class Tracker:
    """Shows and stores events. Use as a context; `step` counts updates already done."""

    def __init__(self, out: Path, step: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.file = (out / "log.jsonl").open("a" if step else "w", encoding="utf8")
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=1.0)

    def __enter__(self) -> Tracker:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()
        self.file.close()

    def event(self, kind: str, **values: Any) -> None:
        """Store an event: one line of `log.jsonl`."""
        self.file.write(json.dumps({"event": kind, "time": round(time.time(), 3), **values}) + "\n")
        self.file.flush()

    def train(self, step: int, progress: float, **values: float) -> None:
        """Store and show the figures of recent updates; `progress` is the share of the run that is done."""
        self.event("train", step=step, progress=round(progress, 6), **values)
        text = (
            f"step {step}  loss {values['loss']:.3f}  {values['samples_per_s']:.0f} samples/s"
            f"  {values['tokens_per_s']:.0f} tokens/s  lr {values['learning_rate']:.1e}"
        )
        self.bar.update(self.task, completed=progress, description=text)
        if not self.console.is_terminal:
            left = values["seconds"] * (1 - progress) / max(progress, 1e-9)
            self.say(f"{progress:4.0%}  {text}  {timedelta(seconds=round(left))} left")

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def read_log(out: str | Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind in a run's log. After a resume, steps that were done twice count once, the last time.

    A line that a kill cut short is passed over.
    """
    events: dict[Any, dict[str, Any]] = {}
    for number, line in enumerate((Path(out) / "log.jsonl").read_text(encoding="utf8").splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == kind:
            events[event.get("step", number - 10**12)] = event
    return [events[key] for key in sorted(events)]
