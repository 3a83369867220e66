"""The panel: the latest figures of a run in a few lines of a terminal, below the messages.

In: figures. Out: a drawing with the latest of each. There is no thread: the panel is redrawn when it gets a figure, at most
twice a second, so that it costs training almost no time.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Box
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genlip.report.formatting import UNKNOWN, clock, counted, size
from genlip.terminal import harmless

__all__ = ["Panel", "rendered", "sparkline"]

_PAUSE = 0.5  # seconds between two drawings
_LOSSES = 12  # in the sparkline
_BARS = "▁▂▃▄▅▆▇█"


class Panel:
    """The live panel of a run. Use as a context; `figures` are known at the start, `show` adds others."""

    def __init__(self, title: str, console: Console, **figures: Any) -> None:
        self.title, self.console = title, console
        self.figures: dict[str, Any] = figures
        self.losses: deque[float] = deque(maxlen=_LOSSES)
        self.drawn = -math.inf
        self.live = Live(console=console, auto_refresh=False, get_renderable=self._rendered)
        self.stack = ExitStack()

    def __enter__(self) -> Panel:
        with ExitStack() as stack:
            error = sys.stderr
            stack.enter_context(self.live)
            _redirect_logging(stack, error)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stack.close()

    def show(self, **figures: Any) -> None:
        """Store figures, and draw all of them unless the last drawing is recent."""
        self.figures |= figures
        if "loss" in figures and math.isfinite(figures["loss"]):
            self.losses.append(figures["loss"])
        if time.monotonic() - self.drawn >= _PAUSE:
            self.live.refresh()
            self.drawn = time.monotonic()

    def _rendered(self) -> RenderableType:
        return rendered(self.title, self.figures, () if self.console.options.ascii_only else self.losses)


def rendered(title: str, figures: Mapping[str, Any], losses: Iterable[float] = ()) -> RenderableType:
    """The drawing.

    figures   as `Tracker.train` names them, with step, progress, held_out, picture_gain, true and spoken
    losses    recent ones, oldest first
    """
    done = figures.get("progress", 0.0)
    top = Table.grid(expand=True, padding=(0, 2))
    top.add_column(no_wrap=True)
    top.add_column(ratio=1)
    top.add_column(no_wrap=True, justify="right")
    top.add_row(
        f"step {figures.get('step', 0):,}",
        ProgressBar(total=1.0, completed=done),
        f"{done:.1%}, {clock(figures.get('left'))} left" if done < 1 else "done",
    )
    table = Table.grid(expand=True, padding=(0, 2))
    for _ in range(3):
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for row in _rows(figures, sparkline(losses)):
        table.add_row(*(Text.assemble((f"{name} ", "dim"), value) for name, value in row))
    said = [
        Text.assemble((f"{name} ", "dim"), harmless(" ".join(str(figures[key]).split())), overflow="ellipsis", no_wrap=True)
        for name, key in (("true", "true"), ("said", "spoken"))
        if key in figures
    ]
    return Box(Group(top, table, *said), title=Text(harmless(title)), title_align="left", border_style="dim")


def _rows(figures: Mapping[str, Any], losses: str) -> list[list[tuple[str, str]]]:
    """Names and figures, three in a row."""

    def words(name: str, form: str, unit: str = "") -> str:
        value = figures.get(name)
        return UNKNOWN if value is None else f"{value:{form}}{unit}"

    memory = figures.get("memory")
    return [
        [
            ("loss", f"{words('loss', '.3f')} {losses}"),
            ("held out", words("held_out", ".3f")),
            ("picture gain", words("picture_gain", ".3f")),
        ],
        [
            ("learning rate", words("learning_rate", ".2e")),
            ("gradient norm", words("gradient_norm", ".3g")),
            ("skipped samples", words("skipped", ",")),
        ],
        [
            ("samples/s", words("samples_per_s", ",.0f") + _threads(figures.get("threads"))),
            ("tokens/s", words("tokens_per_s", ",.0f")),
            ("matrix rate", words("matrix_share", ".1%")),
        ],
        [
            ("packing efficiency", words("packing_efficiency", ".1%")),
            ("data wait", words("wait", ".1%")),
            ("memory", UNKNOWN if memory is None else size(memory, "GiB")),
        ],
    ]


def _threads(number: int | None) -> str:
    return "" if number is None else f", {counted(number, 'thread')}"


def sparkline(values: Iterable[float]) -> str:
    """A bar for each value, between the least and the largest of them."""
    values = list(values)
    if len(values) < 2:
        return ""
    least, span = min(values), max(values) - min(values)
    return "".join(_BARS[round((value - least) / span * (len(_BARS) - 1)) if span else 0] for value in values)


def _redirect_logging(stack: ExitStack, error: TextIO) -> None:
    """Send log messages through the stream that `Live` has put in place of standard error, so that they appear above."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is error:
            handler.setStream(sys.stderr)
            stack.callback(handler.setStream, error)
