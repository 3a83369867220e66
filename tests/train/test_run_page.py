"""The page about a run: early, broken off, resumed, finished, hostile, and very long."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.report import charts, formatting
from genlip.train.run_page import write_report
from genlip.train.tracking import Tracker

EVIL = "<script>\x00\x1b&\ud800\"'"
FACTS = {"parameters": 1234567, "device": "cpu", "matrix_rate": 1.5e12, "held_out": None, "versions": {"torch": "2.13"}}


def tracker(folder: Path, step: int, **settings: object) -> Tracker:
    folder.mkdir(exist_ok=True)
    return Tracker(folder, step, run={"steps": 100, "model": {"hidden_size": 8}}, console=Console(file=io.StringIO()))


def learn(tracked: Tracker, steps: Sequence[int], **metrics: float) -> None:
    for step in steps:
        usual = {
            "loss": 5 / step, "gradient_norm": 1.0, "learning_rate": 1e-3, "samples_per_s": 100.0, "tokens_per_s": 2000.0,
            "seconds_per_step": 0.5, "seconds": step / 2, "matrix_share": 0.5, "packing_efficiency": 0.99, "wait": 0.01,
            "skipped": 0, "memory": 2**30, "left": 50.0,
        }  # fmt: skip
        tracked.train(step, step / 100, **usual | metrics)


def spoken(*texts: str, true: str = "a red circle") -> list[GeneratedCaption]:
    return [GeneratedCaption(f"k{i}", Image.new("RGB", (8, 8), (i, 0, 0)), true, text) for i, text in enumerate(texts)]


def text_of(page: Path) -> str:
    """The page as a reader sees it, without what the folded settings hide."""
    markup = page.read_text(encoding="utf8")
    plain = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<pre>.*?</pre>", " ", markup, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", plain).split())


def test_a_finished_run(tmp_path: Path) -> None:
    with tracker(tmp_path / "stage1", 0) as tracked:
        tracked.start(step=0, **FACTS)
        learn(tracked, range(10, 101, 10))
        tracked.held_out(50, loss=0.1, picture_gain=0.5)
        tracked.spoken(50, spoken("a blue circle", "x"))
        tracked.event("save", step=50)
        tracked.held_out(100, loss=0.06, picture_gain=0.75)
        tracked.spoken(100, spoken("a red circle", "x"))
        tracked.event("end", step=100)
    page = write_report(tmp_path / "stage1")
    assert page == tmp_path / "stage1" / "run.html"
    text, html = text_of(page), page.read_text(encoding="utf8")
    for part in (
        "Run stage1", "ended at step 100", "0.060 held-out loss", "least 0.060 at step 100", "0.750 picture gain",
        "0.050 training loss", "50 s training time", "100 samples/s 2000 tokens per second", "50% matrix rate",
        "Checkpoints written: 1, the last after step 50", "1 of 2 captions were exactly", "parameters 1,234,567",
        "matrix rate 1.50 TFLOP/s", "versions torch 2.13",
    ):  # fmt: skip
        assert part in text, part
    assert "held out None" not in text
    assert "hidden_size: 8" in html
    assert 'class="warnings"' not in html
    assert html.count("<svg") == 4 + 5
    assert html.count("data:image/png") == 2
    assert "a <mark>blue</mark> circle" in html
    assert "step 50 to 100" in text, "the second image was called x twice"
    assert not re.search(r"{{|(src|href)=\"(?!data:|#)", html)


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        tracked.start(step=0)
        learn(tracked, [10, 20])
        text = text_of(write_report(tmp_path, tmp_path / "page.html"))
    assert "has not ended. Its last event was at step 20 (20.0% of the run), on 20" in text
    assert "50 s were left" in text


def test_a_resumed_run_shows_each_step_once_and_says_so(tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        tracked.start(step=0)
        learn(tracked, [10, 20, 30], loss=111.0)
        tracked.event("end", step=30)
    with tracker(tmp_path, 20) as tracked:
        tracked.start(step=20)
        learn(tracked, [30], loss=1.0)
    text = text_of(write_report(tmp_path))
    assert "1.000 training loss" in text
    assert re.search(r"\b0 started .* 20 resumed from a checkpoint", text)
    assert "has not ended" in text


@pytest.mark.parametrize("kind", ["nothing", "start", "nonfinite", "held_out", "spoken", "skipped", "unheard of"])
def test_a_log_of_few_events(kind: str, tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        if kind == "held_out":
            tracked.held_out(1, loss=1.0, picture_gain=0.0)
        elif kind == "spoken":
            tracked.spoken(1, spoken("a"))
        elif kind != "nothing":
            tracked.event(kind)
    markup = write_report(tmp_path).read_text(encoding="utf8")
    assert markup.endswith("</html>\n")


def test_what_looks_wrong_is_said(tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        learn(tracked, [10, 20], wait=0.25, packing_efficiency=0.8)
        tracked.event("nonfinite", step=15, loss=math.nan, samples=["0001/17"])
        tracked.event("nonfinite", step=16, loss=math.nan)
        tracked.event("spike", step=18, loss=9.5, usual=2.0)
        tracked.held_out(10, loss=1.0, picture_gain=0.1)
        tracked.held_out(20, loss=1.2, picture_gain=0.1)
        tracked.event("skipped", update=3, key="k", reason="damaged", message="a.jpg: broken", source="web")
        tracked.event("skipped", update=4, key="k", reason="damaged", message="b.jpg: broken", source="web")
        tracked.event("skipped", update=4, key="k", reason="too large", message="c.jpg: huge", source="web")
    text = text_of(write_report(tmp_path))
    for part in (
        "2 times a loss or gradient was not finite, the last time at step 16", "waits for data 25% of the time",
        "Only 80.0% of the rows", "risen from 1.000 at step 10, its lowest, to 1.200",
        "loss or gradient not finite: samples 0001/17 and 1 more, the last at step 16", "loss spike: loss 9.5, usual 2",
        "damaged web 2 a.jpg: broken b.jpg: broken", "too large web 1 c.jpg: huge",
    ):  # fmt: skip
        assert part in text, part


def test_overfitting_is_distinguished_from_instability(tmp_path: Path) -> None:
    for name, later, told in (
        ("heart", 0.2, "while the training loss fell from 0.900 to 0.200: the model is overfitting. "
                       "The weights of step 20 are better"),
        ("unstable", 2.0, "to 1.060: training has become unstable"),
    ):  # fmt: skip
        with tracker(tmp_path / name, 0) as tracked:
            learn(tracked, [10, 20], loss=0.9)
            learn(tracked, range(30, 81, 10), loss=later)
            for step, loss in ((10, 1.5), (20, 1.0), (40, 1.01), (80, 1.06)):
                tracked.held_out(step, loss=loss, picture_gain=0.1)
        text = text_of(write_report(tmp_path / name))
        assert "risen from 1.000 at step 20, its lowest, to 1.060" in text
        assert told in text
    with tracker(tmp_path / "sound", 0) as tracked:
        learn(tracked, [10, 20, 30], loss=0.5)
        tracked.held_out(20, loss=1.0, picture_gain=0.1)
        tracked.held_out(30, loss=1.01, picture_gain=0.1)
    assert "risen" not in text_of(write_report(tmp_path / "sound"))


def test_no_workers_are_advised_where_they_would_take_the_cores_that_train(tmp_path: Path) -> None:
    for device, advised in (("cpu", False), ("cuda:0", True)):
        with tracker(tmp_path / device, 0) as tracked:
            tracked.start(step=0, device=device)
            learn(tracked, [10, 20], wait=0.25)
        text = text_of(write_report(tmp_path / device))
        assert "waits for data 25% of the time" in text
        assert ("raise data.workers" in text) is advised


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    folder = tmp_path / "<b>run"
    with tracker(folder, 0) as tracked:
        tracked.start(step=0, source=EVIL, versions={EVIL: EVIL})
        tracked.spoken(1, [GeneratedCaption(EVIL, Image.new("RGB", (4, 4)), EVIL, f"{EVIL} {EVIL}")])
        tracked.event("skipped", update=1, reason=EVIL, message=EVIL * 1000)
        tracked.event(EVIL, step=1, **{EVIL: EVIL})
    markup = write_report(folder).read_text(encoding="utf8")
    assert "<script" not in markup
    assert "<b>run" not in markup
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", markup)
    assert len(markup) < 100_000


def test_images_come_from_the_folder_only_and_may_be_gone(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    with tracker(tmp_path / "run", 0) as tracked:
        tracked.spoken(1, spoken("gone", "broken"))
        tracked.event("spoken", step=2, samples=[
            {"key": "e", "true": "a", "spoken": "b", "exact": False, "image": "../secret.png"},
            {"key": "f", "true": "a", "spoken": "b", "exact": False, "image": str(tmp_path / "secret.png")},
            {"key": "g", "true": "a", "spoken": "b", "exact": False},
        ])  # fmt: skip
    first, second = sorted((tmp_path / "run/spoken").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:20])
    assert "data:image" not in write_report(tmp_path / "run").read_text(encoding="utf8")


def test_many_images_and_evaluations_are_thinned(tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        for step in range(1, 41):
            tracked.spoken(step, spoken(*[f"word{step}"] * 30))
    markup = write_report(tmp_path).read_text(encoding="utf8")
    assert markup.count('<figure class="history">') == 16
    steps = re.findall(r"<th>step (\d+) ", markup)[:8]
    assert (steps[0], steps[-1], len(set(steps))) == ("1", "40", 8)
    assert "the first 16" in markup


def test_white_space_alone_is_named_as_the_difference(tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        tracked.spoken(1, spoken("a red\ncircle", "a red circle"))
    assert write_report(tmp_path).read_text(encoding="utf8").count("only white space differs") == 1


def test_a_very_long_curve_keeps_its_extremes() -> None:
    values = np.random.default_rng(0).normal(size=100_000).tolist()
    values[31_415], values[92_653] = 99.0, -99.0
    kept = charts.thin(values)
    assert len(kept) <= 1002
    assert kept == sorted(set(kept))
    assert {0, 31_415, 92_653, 99_999} <= set(kept)
    for start in range(0, 100_000, 1000):  # any stretch of the curve keeps its range
        inside = [values[i] for i in kept if start <= i < start + 1000]
        assert max(inside) == max(values[start : start + 1000])
        assert min(inside) == min(values[start : start + 1000])


def test_a_short_curve_is_kept_whole() -> None:
    assert charts.thin([3.0, 1.0, 2.0]) == [0, 1, 2]
    assert charts.thin([]) == []


def test_a_page_about_a_long_run_stays_small(tmp_path: Path) -> None:
    with tracker(tmp_path, 0) as tracked:
        learn(tracked, range(1, 5001))
    assert write_report(tmp_path).stat().st_size < 600_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99.4, "99 s"), (100, "1.7 min"), (7199, "120.0 min"), (7200, "2.0 h"), (172_800, "2.0 days")],
)
def test_durations_are_in_the_unit_that_people_use(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text
