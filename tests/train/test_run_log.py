"""Reading a log back: what counts after kills and resumes, on one rank or several."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from genlip.train.run_log import read_events, read_log


def write(file: Path, *events: tuple[str, int, dict[str, Any]], rest: str = "") -> None:
    """Events as (kind, time, values)."""
    lines = [json.dumps({"event": kind, "time": time, **values}) + "\n" for kind, time, values in events]
    file.write_text("".join(lines) + rest, encoding="utf8")


def test_what_a_resume_does_again_counts_once(tmp_path: Path) -> None:
    """Saved at 2, killed after 4, resumed at 2 and now at 3: step 4 is yet to come, step 2 was measured twice."""
    write(
        tmp_path / "log.jsonl",
        ("start", 0, {"step": 0}),
        *(("train", i, {"step": i, "loss": 10 + i}) for i in (1, 2, 3, 4)),
        ("held_out", 5, {"step": 2, "loss": 1}),
        ("skipped", 5, {"update": 2, "key": "a"}),
        ("skipped", 5, {"update": 2, "key": "b"}),
        ("skipped", 5, {"update": 4, "key": "c"}),
        ("end", 5, {"step": 4}),
        ("start", 6, {"step": 2}),
        ("held_out", 7, {"step": 2, "loss": 2}),
        ("train", 8, {"step": 3, "loss": 23}),
    )
    assert [(event["step"], event["loss"]) for event in read_log(tmp_path, "train")] == [(1, 11), (2, 12), (3, 23)]
    assert [event["loss"] for event in read_log(tmp_path, "held_out")] == [2]
    assert [event["key"] for event in read_log(tmp_path, "skipped")] == ["a", "b"]
    assert [event["step"] for event in read_log(tmp_path, "start")] == [0, 2]
    assert read_log(tmp_path, "end") == []


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    good = json.dumps({"event": "train", "time": 1, "step": 1})
    lines = ["", "12", "null", '{"step": 1}', '{"event": "train", "ti', good, "\x00\x00", '"event"']
    (tmp_path / "log.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"event": "tr\xff')
    assert len(read_events(tmp_path)) == 1


def test_samples_that_other_ranks_lost_stand_among_the_rest(tmp_path: Path) -> None:
    write(
        tmp_path / "log.jsonl",
        ("start", 10, {"step": 0}),
        ("train", 30, {"step": 2}),
        ("start", 50, {"step": 1}),
        ("train", 60, {"step": 2}),
    )
    write(
        tmp_path / "log.rank-1.jsonl",
        ("skipped", 5, {"update": 1, "key": "of an older run"}),
        ("skipped", 20, {"update": 1, "key": "a"}),
        ("skipped", 30, {"update": 2, "key": "b, read again later"}),
        ("skipped", 55, {"update": 2, "key": "b"}),
        rest='{"event": "ski',
    )
    write(tmp_path / "log.rank-1-1.jsonl", ("skipped", 20, {"update": 1, "key": "moved aside"}))
    assert [event.get("key", event["event"]) for event in read_events(tmp_path)] == ["start", "a", "start", "b", "train"]


def test_a_log_of_nothing_is_empty_and_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no log\.jsonl: name the folder of a run"):
        read_events(tmp_path)
    (tmp_path / "log.jsonl").touch()
    assert read_events(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"time": "now"}, "time is 'now': it must be a finite number"),
        ({"time": 1e300}, "time is 1e+300: it must be in seconds since 1970"),
        ({"time": -1}, "time is -1: it must be in seconds since 1970"),
        ({"event": ["train"]}, "event is ['train']: it must be a text"),
        ({"step": "1"}, "step is '1': it must be a whole number"),
        ({"step": 1.5}, "step is 1.5: it must be a whole number"),
        ({"update": None}, "update is None: it must be a whole number"),
        ({"loss": "low"}, "loss is 'low': it must be a finite number"),
        ({"loss": float("inf")}, "loss is inf: it must be a finite number"),
        ({"matrix_rate": "fast"}, "matrix_rate is 'fast': it must be a finite number"),
        ({"event": "spoken", "samples": 5}, "samples is 5: it must be a list"),
        ({"event": "spoken"}, "it has no 'samples'"),
        ({"event": "spoken", "samples": [{"key": 5}]}, "samples[0] has no 'true'"),
    ],
)
def test_an_event_of_another_type_is_named_with_its_line(values: dict[str, Any], told: str, tmp_path: Path) -> None:
    good = {"event": "train", "time": 1, "step": 1, "loss": None}
    lines = [json.dumps(good), json.dumps(good | values)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'log.jsonl'}, line 2: not an event of a run: {told}")):
        read_events(tmp_path)


def test_a_line_nested_without_end_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "log.jsonl", ("train", 1, {"step": 1}), rest="[" * 100_000 + "\n")
    assert len(read_events(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["train", "held_out", "spoken"])
def test_an_event_of_an_update_has_its_number(kind: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"event": kind, "time": 1, "samples": []}) + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"line 1: not an event of a run: it has no 'step'"):
        read_events(tmp_path)
