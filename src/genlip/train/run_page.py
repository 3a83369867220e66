"""Run report: one HTML page about a training run, written during the run or after it.

In: the folder of a run: its log, and the small images in `spoken/`. Out: a page with curves, problems, captions generated
during training, the configuration and the machine. It reads stored files only, so it needs neither the model nor the data.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from genlip.data.images import ImageError
from genlip.evaluate.model_page import summary, write_model_report
from genlip.evaluate.result_files import read_results
from genlip.model.writing import write_text
from genlip.report import caption_cards, charts, formatting, html
from genlip.report.caption_cards import CaptionHistory
from genlip.report.html import Headline, Section
from genlip.terminal import program
from genlip.train.run_log import LOG, Event, read_events

__all__ = ["render", "write_report", "write_run_report"]

_EVENTS_SHOWN = 40
_IMAGES_SHOWN = 16
_TIMES_SHOWN = 8  # of each image
_EXAMPLES_SHOWN = 3  # of samples that could not be used for one reason
_LETTERS_SHOWN = 400  # of an event


@dataclass(frozen=True)
class _Logged:
    """The events of a run by kind."""

    name: str
    events: list[Event]

    def all(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    def last(self, kind: str) -> Event:
        """The last one; empty if there is none."""
        return next((event for event in reversed(self.events) if event["event"] == kind), {})

    @property
    def finished(self) -> bool:
        """Whether the run ended, and was not made longer after that."""
        marks = [event["event"] for event in self.events if event["event"] in ("start", "end")]
        return marks[-1:] == ["end"]

    @property
    def step(self) -> int:
        return int(max((event.get("step", 0) for event in self.events), default=0))

    def latest(self, kind: str, name: str) -> Any:
        """The last known value of a figure."""
        return next((e[name] for e in reversed(self.events) if e["event"] == kind and e.get(name) is not None), None)

    def usual(self, name: str) -> float | None:
        """The median of a figure over all training events."""
        values = [event[name] for event in self.all("train") if event.get(name) is not None]
        return statistics.median(values) if values else None


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page about a run, or about all measurements of a model; returns its path.

    folder  of a run, of a model, or of evaluations; or an id on the Hub that was measured here
    out     the page; by default `RUN/run.html`, or `report.html` beside the results

    Raises ValueError if the folder holds neither a log nor results.
    """
    if (Path(folder) / LOG).is_file():
        return write_run_report(folder, out)
    try:
        return write_model_report(folder, out)
    except ValueError as error:
        if "no results in" not in str(error) or not Path(folder).exists():
            raise
        raise ValueError(f"{error}; or name the folder of a run, which holds {LOG}") from None


def write_run_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the page about the run in a folder to `RUN/run.html`, or to the file `out`; returns its path.

    Raises ValueError if the folder holds no log.
    """
    folder = Path(run)
    path = Path(out) if out else folder / "run.html"
    markup = render(read_events(folder), folder)
    write_text(path, markup)
    return path


def render(events: Sequence[Event], folder: Path) -> str:
    """The page about events, with the images in the folder that they name."""
    log = _Logged(folder.absolute().name, list(events))
    learned, speed = _learning_charts(log), _speed_charts(log)
    sections = [
        Section(
            "Status", html.paragraphs(_standing(log)) + html.headlines(_headlines(log)) + html.warning_list(_warnings(log))
        ),
        *([Section("Loss and learning rate", html.side_by_side(*learned))] if learned else []),
        *([Section("Speed", html.side_by_side(*speed))] if speed else []),
        *_happened(log),
        *_skipped(log),
        *_spoken(log, folder),
        *_measured(folder),
        *_configuration(log),
    ]
    return html.page(f"Run {log.name}", sections)


# -- state of the run


def _standing(log: _Logged) -> str:
    if not log.events:
        return "The log is empty so far."
    moment = f"{_moment(log.events[-1]):%Y-%m-%d %H:%M:%S} UTC"
    if log.finished:
        return f"The run ended at step {log.step:,}, on {moment}."
    progress, left = log.latest("train", "progress"), log.latest("train", "left")
    share = f" ({progress:.1%} of the run)" if progress is not None else ""
    rest = f" At that speed, {formatting.duration(left)} were left." if left is not None else ""
    return f"The run has not ended. Its last event was at step {log.step:,}{share}, on {moment}.{rest}"


def _headlines(log: _Logged) -> Iterator[Headline]:
    """The main figures, where they are known."""
    train, held_out = log.last("train"), log.last("held_out")
    unit = held_out.get("unit", "nats per token")  # of the task's loss
    if held_out.get("loss") is not None:
        best = min((event["loss"], event["step"]) for event in log.all("held_out") if event.get("loss") is not None)
        note = f"{unit}; least {best[0]:.3f} at step {best[1]:,}"
        yield Headline(f"{held_out['loss']:.3f}", "held-out loss", note)
    if held_out.get("picture_gain") is not None:
        yield Headline(
            f"{held_out['picture_gain']:.3f}", "picture gain", "nats per token that the right image saves over a wrong one"
        )
    if train.get("loss") is not None:
        yield Headline(f"{train['loss']:.3f}", "training loss", f"{unit}, in the last updates")
    if train.get("seconds") is not None:
        yield Headline(formatting.duration(train["seconds"]), "training time", f"{log.step:,} steps")
    if (samples := log.usual("samples_per_s")) is not None:
        tokens = log.usual("tokens_per_s")
        note = f"{formatting.short_number(tokens)} tokens per second" if tokens is not None else ""
        yield Headline(formatting.short_number(samples), "samples/s", f"{note}, median".strip(", "))
    if (share := log.usual("matrix_share")) is not None:
        yield Headline(f"{share:.0%}", "matrix rate", "of what the hardware can multiply, median")


_WAITING, _EMPTY = 0.1, 0.95  # warning thresholds: largest share of waiting, smallest packing efficiency
_OVERFIT, _RISE = 1.02, 1.05  # held-out loss over its lowest: warning thresholds with a falling training loss, and without
_RECENT = 5  # training events over which a mean is taken


def _warnings(log: _Logged) -> Iterator[str]:
    """Likely problems, each with what to change."""
    if bad := log.all("nonfinite"):
        yield (
            f"{_times(len(bad))} a loss or gradient was not finite, the last time at step {bad[-1].get('step', 0):,}: if it "
            "continues, lower optimizer.learning_rate or set precision to float32."
        )
    if (wait := log.usual("wait")) is not None and wait > _WAITING:
        shards = f"write the collection as shards of smaller images with {program()} data pack."
        more = (
            "" if str(log.last("start").get("device", "")).startswith("cpu") else "raise data.workers, or "
        )  # there, workers would use the cores that training needs
        yield f"Training waits for data {wait:.0%} of the time: {more}{shards}"
    if (used := log.usual("packing_efficiency")) is not None and used < _EMPTY:
        yield f"Only {used:.1%} of the rows of a pack are in use: raise packing.packing_buffer or packing.max_tokens."
    yield from _risen(log)


def _risen(log: _Logged) -> Iterator[str]:
    """A warning if the held-out loss has risen: of overfitting if the training loss fell meanwhile, else of instability."""
    losses = [(event["loss"], event["step"]) for event in log.all("held_out") if event.get("loss") is not None]
    if not losses:
        return
    (least, best), now = min(losses), losses[-1][0]
    train = [(event["step"], event["loss"]) for event in log.all("train") if event.get("loss") is not None]
    before = [loss for step, loss in train if step <= best][-_RECENT:]
    since = [loss for step, loss in train if step > best][-_RECENT:]
    message = f"The held-out loss has risen from {least:.3f} at step {best:,}, its lowest, to {now:.3f}"
    first, last = (statistics.fmean(some) if some else math.nan for some in (before, since))
    if last < first and now > _OVERFIT * least:
        yield (
            f"{message}, while the training loss fell from {first:.3f} to {last:.3f}: the model is overfitting. "
            f"The weights of step {best:,} are better; take more samples, or end the run there."
        )
    elif now > _RISE * least:
        yield f"{message}: training has become unstable; the weights of that step may be better, or a lower learning rate."


def _times(number: int) -> str:
    return "Once" if number == 1 else f"{number:,} times"


# -- curves


def _learning_charts(log: _Logged) -> list[str]:
    train, held_out = log.all("train"), log.all("held_out")
    drawn = []
    if train or held_out:
        drawn.append(charts.loss_chart(train, held_out))
    if any(event.get("picture_gain") is not None for event in held_out):
        drawn.append(charts.gain_chart(held_out))
    if (line := charts.curve("learning rate", train, "learning_rate")).values:
        drawn.append(charts.chart("Learning rate", [line]))
    if (line := charts.curve("gradient norm", train, "gradient_norm")).values:
        drawn.append(charts.chart("Norm of the gradient, before clipping", [line], logarithmic=True))
    return drawn


def _speed_charts(log: _Logged) -> list[str]:
    train = log.all("train")
    wanted = [
        ("Samples per second", [charts.curve("samples", train, "samples_per_s")]),
        ("Tokens per second", [charts.curve("tokens", train, "tokens_per_s")]),
        ("Share of the hardware's matrix rate, in %", [charts.curve("share", train, "matrix_share", scale=100)]),
        (
            "Pack rows in use, and time waiting for data, in %",
            [
                charts.curve("rows in use", train, "packing_efficiency", scale=100),
                charts.curve("waiting", train, "wait", "orange", scale=100),
            ],
        ),
        ("Peak memory, in GiB", [charts.curve("memory", train, "memory", "orange", scale=2**-30)]),
        ("Samples that could not be used so far", [charts.curve("skipped", train, "skipped", "orange")]),
    ]
    return [charts.chart(title, lines) for title, lines in wanted if any(any(line.values) for line in lines)]


# -- events


_SHOWN_ELSEWHERE = ("train", "held_out", "spoken", "skipped", "save")


def _happened(log: _Logged) -> list[Section]:
    """A table of starts, saves and other events; several of one kind in a row share a line."""
    events = [event for event in log.events if event["event"] not in _SHOWN_ELSEWHERE]
    groups = [list(group) for _, group in groupby(events, key=_alike)]
    saves = log.all("save")
    notes = []
    if saves:
        notes.append(f"Checkpoints written: {len(saves):,}, the last after step {saves[-1].get('step', 0):,}.")
    if len(groups) > _EVENTS_SHOWN:
        notes.append(f"The last of {len(events):,} events:")
    rows = [_row(group, log) for group in groups[-_EVENTS_SHOWN:]]
    body = html.paragraphs(*notes) + (html.table(["time (UTC)", "step", "what"], rows) if rows else "")
    return [Section("Events", body)] if body else []


def _alike(event: Event) -> tuple[str, int]:
    """A key that is equal for events that share a line; each start has its own line."""
    return event["event"], id(event) if event["event"] == "start" else 0


def _row(group: Sequence[Event], log: _Logged) -> list[str | list[str]]:
    first, last = group[0], group[-1]
    words = [_words(first, log)]
    if len(group) > 1:
        words.append(f"and {len(group) - 1:,} more, the last at step {last.get('step', 0):,}: {_words(last, log)}")
    return [f"{_moment(first):%Y-%m-%d %H:%M:%S}", f"{first.get('step', 0):,}", words]


def _words(event: Event, log: _Logged) -> str:
    """An event in words."""
    kind = event["event"]
    if kind == "start":
        return "started" if event is log.all("start")[0] and not event.get("step") else "resumed from a checkpoint"
    name = {"nonfinite": "loss or gradient not finite", "spike": "loss spike"}.get(kind, str(kind))
    rest = {key: value for key, value in event.items() if key not in ("event", "time", "step") and value is not None}
    detail = ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in rest.items())
    return formatting.one_line(f"{name}: {detail}" if detail else name, _LETTERS_SHOWN)


def _skipped(log: _Logged) -> list[Section]:
    """Samples that could not be used, by reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for event in log.all("skipped"):
        reason = event.get("source", ""), event.get("reason", "")
        message = str(event.get("message") or event.get("key", ""))
        reasons.setdefault(reason, []).append(formatting.one_line(message, _LETTERS_SHOWN))
    if not reasons:
        return []
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    rows = [[reason, source, f"{len(messages):,}", messages[:_EXAMPLES_SHOWN]] for (source, reason), messages in ordered]
    return [Section("Samples that could not be used", html.table(["reason", "source", "number", "such as"], rows))]


# -- captions


def _spoken(log: _Logged, folder: Path) -> list[Section]:
    """The generated captions of each image over time."""
    evaluations = log.all("spoken")
    if not evaluations:
        return []
    said: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for event in evaluations:
        for sample in event["samples"]:
            said.setdefault(sample["key"], []).append((event["step"], sample))
    last = evaluations[-1]["samples"]
    exact = sum(bool(sample["exact"]) for sample in last)
    note = f"At step {evaluations[-1]['step']:,}, {exact} of {len(last)} captions were exactly the true ones. " + (
        f"These are the first {_IMAGES_SHOWN} of them. " if len(said) > _IMAGES_SHOWN else ""
    )
    shown = [_speech(history, folder) for history in list(said.values())[:_IMAGES_SHOWN]]
    return [
        Section(
            "Captions of held-out images",
            html.paragraphs(f"{note}Words that are not in the true caption are marked.")
            + caption_cards.caption_histories(shown),
        )
    ]


def _speech(history: Sequence[tuple[int, Mapping[str, Any]]], folder: Path) -> CaptionHistory:
    sample = history[-1][1]
    return CaptionHistory(_picture(folder, sample.get("image")), sample["true"], _some(_changes(history), _TIMES_SHOWN))


def _changes(history: Sequence[tuple[int, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """(steps, caption) of each run of equal captions."""
    runs: list[tuple[int, int, str]] = []
    for step, sample in history:
        if runs and runs[-1][2] == sample["spoken"]:
            runs[-1] = (runs[-1][0], step, sample["spoken"])
        else:
            runs.append((step, step, sample["spoken"]))
    return [(f"step {a:,}" if a == b else f"step {a:,} to {b:,}", text) for a, b, text in runs]


def _some(items: Sequence[tuple[str, str]], number: int) -> list[tuple[str, str]]:
    """At most so many, evenly chosen, with the first and the last."""
    if len(items) <= number:
        return list(items)
    return [items[round(i * (len(items) - 1) / (number - 1))] for i in range(number)]


_PICTURE = 256  # pixels of the longer side of an image: a page shows half as many


def _picture(folder: Path, name: str | None) -> Any:
    """A stored image; None if it is gone or damaged."""
    if not name or not (folder / name).resolve().is_relative_to(folder.resolve()):
        return None
    try:
        return html.thumbnail(folder / name, _PICTURE)  # a stored file may be of any size, and all are held together
    except ImageError:
        return None


def _measured(folder: Path) -> list[Section]:
    """The measurements of the run's model, if there are any."""
    results = read_results(folder / "model" / "evaluations")
    return [summary(results, "Measurements of its model")] if results else []


# -- configuration


_NOT_FACTS = ("event", "time", "step", "run", "versions")


def _configuration(log: _Logged) -> list[Section]:
    """The machine, the versions and the settings, as the last start stored them."""
    start = log.last("start")
    rows = {name.replace("_", " "): _fact(name, start[name]) for name in start if name not in _NOT_FACTS and start[name]}
    if start.get("versions"):
        rows["versions"] = ", ".join(f"{name} {number}" for name, number in start["versions"].items())
    body = html.key_value_table(rows) if rows else ""
    if start.get("run"):
        text = yaml.safe_dump(start["run"], sort_keys=False, allow_unicode=True, width=100)
        body += html.details("All settings", text)
    return [Section("This run", body)] if body else []


def _fact(name: str, value: Any) -> str:
    if name == "matrix_rate":
        return f"{value / 1e12:,.2f} TFLOP/s"
    return _value(value)


def _value(value: Any) -> str:
    """A value of an event in words."""
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, Sequence):
        return ", ".join(map(_value, value)) or "none"
    return str(value)


def _moment(event: Event) -> datetime:
    return datetime.fromtimestamp(event["time"], UTC)
