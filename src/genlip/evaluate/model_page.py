"""Model report: one page of all that was measured of a model.

In: the folder of a model, or of its evaluations. Out: a page with a summary, the section of each stored result, and where
they were measured. It reads stored results alone, so it needs neither model nor data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genlip.encoders.names import is_genlip
from genlip.evaluate.registry import MEASUREMENTS, section_of, title_of
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import evaluations_folder, read_results
from genlip.evaluate.score_table import interval_words, number_words, set_words, settings_words
from genlip.model.checkpoint import model_near
from genlip.model.weights import CONFIG
from genlip.model.writing import write_text
from genlip.report import formatting, html
from genlip.report.html import Section
from genlip.terminal import program

__all__ = ["model_page", "stored_results", "summary", "write_model_report"]


def write_model_report(folder: str | Path, out: str | Path | None = None, title: str | None = None) -> Path:
    """Write the page about a model, named by its folder, its id or its folder of evaluations; returns the path of the page.

    Without `out` it is `report.html` beside the results. Raises ValueError if nothing is stored, or a result is damaged.
    """
    home, results = stored_results(folder)
    path = Path(out) if out else home / "report.html"
    write_text(path, model_page(results, title or f"Evaluation of {results[0].model or folder}"))
    return path


def stored_results(folder: str | Path) -> tuple[Path, list[Result]]:
    """A model's folder of evaluations, and its results in the order of a page; at least one.

    `folder` is a model's folder, its id or spelling, or the folder of evaluations itself. Raises ValueError with the command
    that measures, where nothing is stored.
    """
    candidates = [evaluations_folder(folder), Path(folder)]
    for home in candidates:
        if results := read_results(home):
            places = list(MEASUREMENTS)
            return home, sorted(
                results, key=lambda one: places.index(one.measurement) if one.measurement in places else len(places)
            )
    of = "no results" if Path(folder).is_dir() else "no such folder, and no results of a Hub model of this name"
    near = None if (Path(folder) / CONFIG).is_file() else model_near(folder)
    meant = f"; did you mean {near}?" if near else ""
    measurement = "captioning" if is_genlip(str(folder)) else "features"
    raise ValueError(
        f"{folder}: {of} in {candidates[0]}{meant}; measure the model first, as in: "
        f"{program()} eval {measurement} {near or folder} scenes:1"
    )


def model_page(results: Sequence[Result], title: str) -> str:
    """The page about stored results of one model."""
    return html.page(title, [summary(results), *map(section_of, results), _origin(results)])


def summary(results: Sequence[Result], title: str = "Summary") -> Section:
    """A line for each result: its measurement, its set, and its first score with the interval."""
    head = ["measurement", "set", "score", "value", "95 % interval", "images"]
    return Section(title, html.table(head, [_row(one, results) for one in results]))


def _row(result: Result, results: Sequence[Result]) -> list[str]:
    figures = ["–"] * 3
    if result.scores:
        name, scores = next(iter(result.scores.items()))
        figures = [name, number_words(scores.score), interval_words(scores.interval())]
    name = ", ".join([title_of(result.measurement), *_own_settings(result, results)])
    return [name, set_words(result.data), *figures, f"{len(result.keys):,}"]


def _own_settings(result: Result, results: Sequence[Result]) -> list[str]:
    """The settings in which a result differs from others of the same measurement and set."""
    alike = [one.settings for one in results if (one.measurement, one.data) == (result.measurement, result.data)]
    own = {name: value for name, value in result.settings.items() if any(one.get(name) != value for one in alike)}
    return [settings_words(own)] if own else []


def _origin(results: Sequence[Result]) -> Section:
    """Machines, precisions and versions, each listed once, and the time and settings of each result."""
    facts = {}
    for name in ("machine", "precision", "versions"):
        told = [settings_words(one.about[name]) for one in results if name in one.about]
        if told:
            facts[name] = "; ".join(dict.fromkeys(told))
    head = ["measurement", "set", "time", "settings"]
    return Section("How it was measured", html.key_value_table(facts) + html.table(head, map(_settings, results)))


def _settings(result: Result) -> list[str | list[str]]:
    seconds = result.about.get("seconds")
    time = "–" if seconds is None else formatting.duration(seconds)
    return [title_of(result.measurement), set_words(result.data), time, [settings_words(result.settings)]]
