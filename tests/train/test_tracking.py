"""What a run leaves on disk and says: after kills, on other ranks, with a full disk, with trackers that fail."""

import io
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.train import trackers
from genlip.train.tracking import Tracker, read_log

METRICS = {
    "loss": 2.34567, "gradient_norm": 0.5, "learning_rate": 1e-3, "samples_per_s": 250.4, "tokens_per_s": 8500.6,
    "seconds_per_step": 0.2, "seconds": 60.0, "left": 90.0,
}  # fmt: skip


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def told(tracker: Tracker) -> str:
    assert isinstance(tracker.console.file, io.StringIO)
    return tracker.console.file.getvalue()


def lines(file: Path) -> list[dict[str, Any]]:
    """Every line, by a parser that knows strict JSON only."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in file.read_text(encoding="utf8").splitlines()]


def test_every_event_is_a_line_of_strict_json(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0, run={"steps": 3}, console=console()) as tracker:
        tracker.start(step=0, parameters=7)
        tracker.train(10, 0.123456789, **METRICS, matrix_share=None)
        tracker.held_out(10, loss=2.0, picture_gain=0.5)
        tracker.event("nonfinite", step=11, loss=math.nan, gradient_norm=[1.0, -math.inf], names={"a": math.inf})
        on_disk = lines(tmp_path / "log.jsonl")
    start, train, held_out, bad = on_disk
    assert all(event.pop("time") > 1.7e9 for event in on_disk)
    assert start == {"event": "start", "step": 0, "parameters": 7, "run": {"steps": 3}}
    assert train == {"event": "train", "step": 10, "progress": 0.123457, **METRICS, "matrix_share": None}
    assert held_out == {"event": "held_out", "step": 10, "loss": 2.0, "picture_gain": 0.5, "unit": "nats per token"}
    assert bad == {"event": "nonfinite", "step": 11, "loss": None, "gradient_norm": [1.0, None], "names": {"a": None}}


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0, console=console()) as tracker:
        tracker.train(10, 0.4, **METRICS)
        tracker.train(20, 0.4, **{**METRICS, "left": None})
        tracker.held_out(20, loss=2.0, picture_gain=0.25)
    assert told(tracker).splitlines() == [
        " 40%  step 10  loss 2.346  250 samples/s  8501 tokens/s  lr 1.0e-03  0:01:30 left",
        " 40%  step 20  loss 2.346  250 samples/s  8501 tokens/s  lr 1.0e-03  0:01:30 left",
        "step 20: held-out loss 2.000, picture gain 0.250 nats per token",
    ]


def test_a_terminal_is_told_what_it_may_not_obey(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0, console=console()) as tracker:
        tracker.say("a\x1b[31m[bold]b\r\x9bc\n")
    assert told(tracker) == "a\ufffd[31m[bold]b\ufffd\ufffdc\n\n"


def test_a_new_run_moves_older_logs_aside(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        with Tracker(tmp_path, 0, console=console()) as tracker:
            tracker.event(name)
    found = {file.name: lines(file)[0]["event"] for file in tmp_path.iterdir()}
    assert found == {"log-1.jsonl": "first", "log-2.jsonl": "second", "log.jsonl": "third"}


@pytest.mark.parametrize("rest", ['{"event": "train", "ti', '{"event": "save", "time": 1, "step": 9}', ""])
def test_a_resumed_run_goes_on_after_a_line_that_was_cut_short(tmp_path: Path, rest: str) -> None:
    with Tracker(tmp_path, 0, console=console()) as tracker:
        tracker.event("train", step=3)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + rest)
    with Tracker(tmp_path, 3, console=console()) as tracker:
        tracker.event("train", step=4)
    assert [event["step"] for event in read_log(tmp_path, "train")] == [3, 4]
    assert len(read_log(tmp_path, "save")) == ("save" in rest)
    assert len(log.read_text().splitlines()) == (3 if rest else 2)


def test_other_ranks_store_lost_samples_only_and_say_nothing(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0, ["no such"], console=console(), active=False, file="log.rank-2.jsonl") as tracker:
        tracker.start(step=0)
        tracker.train(1, 0.5, **METRICS)
        tracker.spoken(1, [GeneratedCaption("k", Image.new("RGB", (2, 2)), "a", "b")])
        tracker.say("hello")
        assert not list(tmp_path.iterdir())
        tracker.event("skipped", update=1, key="k")
    assert told(tracker) == ""
    assert [file.name for file in tmp_path.iterdir()] == ["log.rank-2.jsonl"]
    assert [event["event"] for event in lines(tmp_path / "log.rank-2.jsonl")] == ["skipped"]


def test_an_inactive_tracker_never_touches_the_main_log(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0, console=console(), active=False) as tracker:
        tracker.event("skipped", update=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_stops_the_run_and_all_else_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recording()
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", lambda *_: recorder)
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), Tracker(tmp_path, 1, ["tensorboard"], console=console()) as tracker:
        tracker.event("save", step=2)
    assert recorder.heard == ["close"]


def test_images_are_stored_once_and_small(tmp_path: Path) -> None:
    large = GeneratedCaption("docs/ä:1", Image.new("RGB", (1000, 500), "red"), "true words", "said words")
    small = GeneratedCaption("k2", Image.new("RGB", (9, 7), "blue"), "same", " same ")
    with Tracker(tmp_path, 0, console=console()) as tracker:
        tracker.spoken(5, [large, small])
        tracker.spoken(6, [large._replace(image=Image.new("RGB", (10, 10)))])
    first, second = read_log(tmp_path, "spoken")
    texts = [{key: sample[key] for key in ("key", "true", "spoken", "exact")} for sample in first["samples"]]
    assert texts == [
        {"key": "docs/ä:1", "true": "true words", "spoken": "said words", "exact": False},
        {"key": "k2", "true": "same", "spoken": " same ", "exact": True},
    ]
    names = [sample["image"] for sample in first["samples"]]
    assert second["samples"][0]["image"] == names[0]
    assert [Image.open(tmp_path / name).size for name in names] == [(256, 128), (9, 7)]
    assert sorted(f"spoken/{file.name}" for file in (tmp_path / "spoken").iterdir()) == sorted(names)
    assert told(tracker).startswith("step 5: 1 of 2 captions exact, the first: 'said words'\n")


def test_the_same_image_has_the_same_file_in_every_process(tmp_path: Path) -> None:
    for step in (0, 5):
        with Tracker(tmp_path, step, console=console()) as tracker:
            tracker.spoken(
                step + 1, [GeneratedCaption(key, Image.new("RGB", (4, 4)), "a", "b") for key in ("x", "y")[:: 1 - step]]
            )
    assert len(list((tmp_path / "spoken").iterdir())) == 2


def test_a_caption_without_an_image_that_can_be_read_is_kept(tmp_path: Path) -> None:
    with Tracker(tmp_path, 0, console=console()) as tracker:
        tracker.spoken(1, [GeneratedCaption("k", b"no image", "a", "b")])
    (event,) = read_log(tmp_path, "spoken")
    assert event["samples"][0]["image"] is None


class Recording:
    """A tracker that remembers, or fails."""

    def __init__(self, fails: bool = False) -> None:
        self.heard: list[Any] = []
        self.fails = fails

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self.fails:
            raise RuntimeError("database is locked")
        self.heard.append((step, values))

    def spoken(self, step: int, samples: list[GeneratedCaption]) -> None:
        self.heard.append((step, [one.key for one in samples]))

    def close(self) -> None:
        self.heard.append("close")


def test_trackers_hear_finite_figures_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recording()
    monkeypatch.setitem(trackers.TRACKERS, "wandb", lambda *_: recorder)
    with Tracker(tmp_path, 0, ["wandb"], console=console()) as tracker:
        tracker.train(1, 0.1, **{**METRICS, "loss": math.nan, "matrix_share": None})
        tracker.held_out(1, loss=2.0, picture_gain=0.5)
        tracker.spoken(1, [GeneratedCaption("k", Image.new("RGB", (2, 2)), "a", "b")])
    (_, train), held_out, said, end = recorder.heard
    assert set(train) == {f"train/{name}" for name in METRICS} - {"train/loss"}
    assert held_out == (1, {"held_out/loss": 2.0, "held_out/picture_gain": 0.5})
    assert (said, end) == ((1, ["k"]), "close")


def test_a_tracker_that_fails_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = Recording(), Recording(fails=True)
    monkeypatch.setitem(trackers.TRACKERS, "wandb", lambda *_: bad)
    monkeypatch.setitem(trackers.TRACKERS, "trackio", lambda *_: good)
    with Tracker(tmp_path, 0, ["wandb", "trackio"], console=console()) as tracker:
        tracker.held_out(1, loss=2.0, picture_gain=0.5)
        tracker.held_out(2, loss=2.0, picture_gain=0.5)
    assert [step for step, _ in good.heard[:-1]] == [1, 2]
    assert told(tracker).count("wandb failed") == 1
    assert "log.jsonl does: RuntimeError: database is locked" in told(tracker)
    assert len(read_log(tmp_path, "held_out")) == 2


def test_a_tracker_that_cannot_begin_stops_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="did you mean tensorboard"), Tracker(tmp_path, 0, ["tensorbord"]):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_run_that_goes_on_shows_its_step_at_once(tmp_path: Path) -> None:
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)
    with Tracker(tmp_path, 1200, console=screen, progress=0.75) as tracker:
        tracker.say("going on after step 1200")
        shown = told(tracker)
    assert "step 1,200" in shown
    assert "75.0%" in shown
    assert "step 0" not in shown


def test_a_terminal_shows_the_panel_and_what_is_said(tmp_path: Path) -> None:
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)
    with Tracker(tmp_path / ".", 0, console=screen) as tracker:
        tracker.train(10, 0.4, **METRICS)
        tracker.held_out(10, loss=2.0, picture_gain=0.25)
        tracker.say("a warning")
    shown = told(tracker)
    assert "step 10: held-out loss 2.000" in shown
    assert "a warning" in shown
    last = shown[shown.rindex("╭") :]
    assert "0.250" in last
    assert "2.346" in last
