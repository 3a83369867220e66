"""Run log: reads the events of a run from its folder, during the run or after it.

In: `log.jsonl`, one JSON object per event, and `log.rank-N.jsonl` of the other ranks. Out: the valid events, in order.
A resumed run repeats the updates after its checkpoint, so the events logged for them before it was stopped are not valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Required, TypedDict

from genlip.model.fields import checked
from genlip.model.reading import parse_json

__all__ = ["LOG", "Event", "read_events", "read_log"]

LOG = "log.jsonl"
_OF_A_RANK = re.compile(r"log\.rank-\d+\.jsonl")
_MANY = ("start", "skipped")  # may occur several times at one step; of all others, the last one of a step is valid

_YEAR_3000 = 32_503_680_000

Event = dict[str, Any]


class _Sample(TypedDict, total=False):
    """The generated caption of an image."""

    key: Required[str]
    true: Required[str]
    spoken: Required[str]
    exact: Required[bool]
    image: str | None


class _Stored(TypedDict, total=False):
    """The fields of an event that are read; figures that are not finite are stored as null."""

    event: Required[str]
    time: Required[float]
    step: int
    update: int
    key: str
    source: str
    reason: str
    message: str
    path: str
    versions: dict[str, Any]
    run: dict[str, Any] | None
    used: dict[str, int]
    skipped: float | dict[str, Any] | None
    loss: float | None
    loss_other_image: float | None
    picture_gain: float | None
    unit: str
    progress: float | None
    left: float | None
    seconds: float | None
    tokens: float | None
    samples_per_s: float | None
    tokens_per_s: float | None
    matrix_share: float | None
    wait: float | None
    packing_efficiency: float | None
    learning_rate: float | None
    gradient_norm: float | None
    memory: float | None
    usual: float | None
    matrix_rate: float | None


class _OfAStep(TypedDict):
    step: int


class _Spoken(_OfAStep):
    samples: list[_Sample]


_KINDS = {"train": _OfAStep, "held_out": _OfAStep, "spoken": _Spoken}  # fields that these need in addition


def read_log(out: str | Path, kind: str) -> list[Event]:
    """The valid events of one kind."""
    return [event for event in read_events(out) if event["event"] == kind]


def read_events(out: str | Path) -> list[Event]:
    """All valid events, in order. Raises ValueError if the folder holds no log."""
    events: dict[Any, Event] = {}
    for number, event in enumerate(_in_order(Path(out))):
        kind, step = event["event"], _step(event)
        if kind == "start":
            events = {key: old for key, old in events.items() if old["event"] == "start" or _step(old) <= step}
        place = number if kind in _MANY else (kind, step)
        events.pop(place, None)  # a repeated event takes the place of the last one
        events[place] = event
    return list(events.values())


def _in_order(out: Path) -> list[Event]:
    """The events of all ranks by time, without those of other ranks before the first start: they are of an older run."""
    if not (out / LOG).is_file():
        raise ValueError(f"{out} holds no {LOG}: name the folder of a run, which is its recipe's `out`")
    events = list(_parsed(out / LOG))
    began = events[0]["time"] if events else 0.0
    ranks = (file for file in sorted(out.glob("log.rank-*.jsonl")) if _OF_A_RANK.fullmatch(file.name))
    others = [event for file in ranks for event in _parsed(file) if event["time"] >= began]
    return sorted(events + others, key=lambda event: event["time"]) if others else events


def _parsed(file: Path) -> Iterator[Event]:
    """The events of a file, without incomplete lines of a process that was killed."""
    with file.open(encoding="utf8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                event = parse_json(line, file.name)
            except ValueError:
                continue
            if isinstance(event, dict) and {"event", "time"} <= event.keys():
                yield _event(event, f"{file}, line {number}")


def _event(event: Event, name: str) -> Event:
    """The event, unchanged. Raises ValueError if a field has the wrong type."""
    try:
        checked(event, _Stored, "it")
        if kind := _KINDS.get(event["event"]):
            checked(event, kind, "it")
        if not 0 <= event["time"] < _YEAR_3000:
            raise ValueError(f"time is {event['time']}: it must be in seconds since 1970")
    except ValueError as error:
        raise ValueError(f"{name}: not an event of a run: {str(error).removeprefix('it.')}") from None
    return event


def _step(event: Event) -> int:
    """The number of the update during or after which the event occurred."""
    step: int = event["step"] if "step" in event else event.get("update", 0)
    return step
