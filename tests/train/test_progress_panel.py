"""The panel: every figure in its place on 80 columns, cheap to keep, and no fuss with odd values or terminals."""

import io
import logging
import math
import sys
import threading
from itertools import pairwise

import pytest
from rich.console import Console

from genlip.report.formatting import clock
from genlip.train import progress_panel as panel
from genlip.train.progress_panel import Panel, rendered, sparkline

FIGURES = {
    "step": 12340, "progress": 0.342, "left": 123456.0, "loss": 2.345678, "held_out": 2.401, "picture_gain": 0.534,
    "learning_rate": 9.8e-4, "gradient_norm": 0.412, "skipped": 1234, "samples_per_s": 12345.6, "tokens_per_s": 4567890.1,
    "matrix_share": 0.523,
    "packing_efficiency": 0.9994, "wait": 0.003, "memory": 65.3e9, "true": "a\nred  circle", "spoken": "a\x1bblue",
}  # fmt: skip


def drawn(width: int, **figures: object) -> list[str]:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(rendered("runs/stage1", figures, [3.0, 2.5, 2.0]))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


def test_all_figures_are_there_on_80_columns() -> None:
    shown = drawn(80, **FIGURES)
    text = " ".join(" ".join(shown).split())
    for part in (
        "runs/stage1", "step 12,340", "34.2%, 1 day, 10:17:36 left", "loss 2.346 █▅▁", "held out 2.401",
        "picture gain 0.534", "learning rate 9.80e-04", "gradient norm 0.412", "skipped samples 1,234", "samples/s 12,346",
        "tokens/s 4,567,890", "matrix rate 52.3%", "packing efficiency 99.9%", "data wait 0.3%", "memory 60.8 GiB",
        "true a red circle", "said a\ufffdblue",
    ):  # fmt: skip
        assert part in text, part
    assert len(shown) <= 9


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_it_never_grows_beyond_the_terminal(width: int) -> None:
    shown = drawn(width, **(FIGURES | {"true": "word " * 100, "step": 10**9, "tokens_per_s": 1e12}))
    assert all(len(line) <= width for line in shown)
    assert len(shown) <= 9


def test_what_is_not_known_is_a_dash() -> None:
    text = " ".join(" ".join(drawn(80, matrix_share=None, memory=None)).split())
    assert "matrix rate –" in text
    assert "memory –" in text
    assert "– left" in text


def test_a_finished_run_is_done() -> None:
    assert "done" in drawn(80, progress=1.0)[1]


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0], ""), ([1.0, 1.0], "▁▁"), ([0.0, 7.0, 3.0], "▁█▄"), ([8.0, 4.5, 1.0], "█▅▁"), ([-1.0, 0.0], "▁█")],
)
def test_a_sparkline_spans_from_the_least_to_the_largest(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (89.6, "0:01:30"), (90_000, "1 day, 1:00:00"), (None, "–"), (math.inf, "–"), (math.nan, "–")],
)
def test_times_are_read_at_a_glance(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)


def test_it_is_drawn_at_most_twice_a_second_and_has_no_thread(screen: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(panel.time, "monotonic", lambda: now[0])
    threads = threading.active_count()
    with Panel("run", screen) as shown:
        draws: list[float] = []
        refresh = shown.live.refresh
        monkeypatch.setattr(shown.live, "refresh", lambda: (draws.append(now[0]), refresh()))
        for i in range(100):
            now[0] = 100 + i * 0.05
            shown.show(step=i, loss=1.0 if i % 2 else math.nan)
        assert threading.active_count() == threads
    gaps = [later - sooner for sooner, later in pairwise(draws[:-1])]  # the last one is drawn when it ends
    assert min(gaps) >= 0.5
    assert 8 <= len(draws) <= 12
    assert set(shown.losses) == {1.0}


def test_warnings_of_others_go_above_it(screen: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    handler = logging.StreamHandler(error)
    logging.getLogger().addHandler(handler)
    try:
        with Panel("run", screen):
            logging.getLogger("genlip").warning("skipped a file")
        logging.getLogger("genlip").warning("afterwards")
    finally:
        logging.getLogger().removeHandler(handler)
    assert isinstance(screen.file, io.StringIO)
    assert "skipped a file" in screen.file.getvalue()
    assert error.getvalue() == "afterwards\n"


def test_a_terminal_of_ascii_gets_no_sparkline() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    with Panel("run", Console(file=raw, width=80, force_terminal=True, force_interactive=True)) as shown:
        shown.show(loss=1.0)
        shown.show(loss=2.0)
        shown.live.refresh()
    raw.flush()
    assert b"2.000  " in raw.buffer.getvalue()  # type: ignore[attr-defined]
