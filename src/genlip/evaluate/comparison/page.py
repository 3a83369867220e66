"""The text and the page of a comparison.

In: a `Comparison`. Out: a text for a terminal, and one HTML page without other files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from genlip.evaluate.comparison.compare import Comparison, Shared, paired, short_names, tokenizers
from genlip.evaluate.registry import title_of
from genlip.evaluate.result import IMAGE_SETTINGS
from genlip.evaluate.score_table import interval_words, number_words, set_words, settings_words, signed_words
from genlip.report import html
from genlip.report.html import Section

__all__ = ["comparison_page", "comparison_text"]

_HEAD = ["score", "model", "value", "95 % interval", "difference", "reading"]
_NOTHING = (
    "No measurement is shared: the models were measured on other sets or with other settings. Measure them alike, with the "
    "same genlip eval command."
)


def comparison_text(comparison: Comparison, width: int = 120) -> str:
    """Tables of plain text, `width` characters wide."""
    file, names = io.StringIO(), short_names(comparison.models)
    console = Console(file=file, width=width, color_system=None)
    for shared in comparison.shared:
        table = Table(*_HEAD, title=escape(_title(shared)), caption=escape(_settings(shared, names)), title_justify="left")
        for row in _rows(shared, names):
            table.add_row(*map(escape, row))
        console.print(table)
    for line in _remarks(comparison, names):
        console.print(escape(line), highlight=False)
    return file.getvalue()


def comparison_page(comparison: Comparison) -> str:
    """The page: what is compared, a section for each shared measurement, and what only one model has."""
    names = short_names(comparison.models)
    folders = html.key_value_table({short: model for model, short in names.items()})
    sections = [Section("What is compared", html.paragraphs(_story(comparison)) + folders)]
    for shared in comparison.shared:
        body = html.table(_HEAD, _rows(shared, names)) + html.paragraphs(_settings(shared, names)) + _curves(shared)
        sections.append(Section(_title(shared), body))
    if comparison.alone:
        rows = [[names[one.model], title_of(one.result.measurement), set_words(one.result.data)] for one in comparison.alone]
        sections.append(Section("Measured of one model only", html.table(["model", "measurement", "set"], rows)))
    return html.page("Comparison of models", sections)


def _story(comparison: Comparison) -> str:
    if not comparison.shared:
        return _NOTHING
    return (
        "Scores stand side by side where set and settings are the same. A difference is to the first model of its table, on "
        "the images of both; the interval holds it for 95 in 100 sets of as many such images, drawn alike for both models. "
        "Beyond noise means that this interval leaves 0 out. Of many differences, one in twenty does so by chance."
    )


def _title(shared: Shared) -> str:
    return f"{title_of(shared.measurement)} on {set_words(shared.data)}"


def _settings(shared: Shared, names: Mapping[str, str]) -> str:
    settings, differ = shared.results[shared.first].settings, shared.image_settings
    if not differ:
        return f"Settings: {settings_words(settings)}."
    common = {name: value for name, value in settings.items() if name not in IMAGE_SETTINGS}
    own = "; ".join(f"{settings_words(images)} for {names[model]}" for model, images in differ.items())
    return f"{f'Settings: {settings_words(common)}. ' if common else ''}Images were prepared differently: {own}."


def _rows(shared: Shared, names: Mapping[str, str]) -> Iterator[list[str]]:
    """A line for each score and model that has it; the name of a score stands in its first line."""
    for name in shared.scores:
        some = [(model, result) for model, result in shared.results.items() if name in result.scores]
        for place, (model, result) in enumerate(some):
            scores = result.scores[name]
            figures = number_words(scores.score), interval_words(scores.interval())
            yield [name if place == 0 else "", names[model], *figures, *_difference(shared, model, name)]


def _difference(shared: Shared, model: str, name: str) -> list[str]:
    """The difference with its interval, and what it means."""
    if model == shared.first:
        return ["", "compared with"]
    first, second = shared.results[shared.first], shared.results[model]
    tokens = tokenizers(first, second, name)
    pairing = paired(first, second, name)
    if pairing is None:
        return ["–", "not comparable: counted in tokens of another tokenizer" if tokens == "different" else "not comparable"]
    value, low, high = pairing.difference
    reading = ("higher" if value > 0 else "lower") + ", beyond noise" if pairing.difference.beyond_noise else "within noise"
    images = {len(shared.results[model].keys), len(shared.results[shared.first].keys)}
    some = "" if images == {pairing.images} else f", on {pairing.images:,} common images"
    doubt = "; whether the tokenizers are the same is unknown" if tokens == "unknown" else ""
    return [f"{signed_words(value)} ({signed_words(low)} to {signed_words(high)})", reading + some + doubt]


def _remarks(comparison: Comparison, names: Mapping[str, str]) -> Iterator[str]:
    if not comparison.shared:
        yield _NOTHING
    for one in comparison.alone:
        yield f"only {names[one.model]}: {title_of(one.result.measurement)} on {one.result.data}"
    yield from (f"{short}: {model}" for model, short in names.items() if short != model)


def _curves(shared: Shared) -> str:
    """For attention to the same images with a gate and without one, both over the layers in one chart."""
    gated = {result.figures.get("gate") is not None: result for result in shared.results.values()}
    same = len({tuple(result.keys) for result in shared.results.values()}) == 1
    if shared.measurement != "attention" or len(shared.results) != 2 or len(gated) != 2 or not same:
        return ""
    from genlip.evaluate.attention.page import compare_section

    return compare_section(gated[True], gated[False]).body
