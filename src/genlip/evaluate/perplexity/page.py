"""Page: the part of a page about perplexity.

In: a stored result. Out: a section with a table of stages and conditions, and curves over steps.
"""

from __future__ import annotations

import math
from typing import Any

from genlip.evaluate.perplexity.measure import CONDITIONS
from genlip.evaluate.result import Result
from genlip.report import charts, html
from genlip.report.charts import Line
from genlip.report.html import Section

__all__ = ["section"]

_COLOURS = ("blue", "orange", "text", "grey")


def section(result: Result) -> Section:
    """The page's part on a stored result."""
    settings, figures = result.settings, result.figures
    stages = list(dict.fromkeys(name.partition(",")[0] for name in result.scores))
    story = _MEASURED.format(
        images=len(result.keys), llm=settings.get("language_model", ""), steps=settings.get("steps", ""),
        train=settings.get("train", ""),
    )  # fmt: skip
    drawn = [charts.chart(stage, lines, below="steps") for stage in stages if (lines := _lines(figures, stage))]
    return Section(
        "Perplexity of a language model that reads the encoder",
        html.paragraphs(story)
        + html.table(["", *(_TITLES[one] for one in CONDITIONS), "learning rate"], [_row(result, one) for one in stages])
        + html.paragraphs(_READ)
        + (html.paragraphs(_CURVES) + html.side_by_side(*drawn) if drawn else ""),
    )


_TITLES = {"own": "right image", "other": "another image", "none": "no image"}

_MEASURED = (
    "How well {llm} predicts the texts of {images} dialogues, after it was trained for {steps} steps on {train} to read "
    "the features of this encoder. PPL1: the projector alone was trained. PPL2: the language model too. A perplexity of 1 "
    "means that every token is predicted with certainty; lower is better."
)

_READ = (
    "Each value is with the range in which 95 % of resampled sets of dialogues lie. With another image, or without one, "
    "the texts are the same: where these columns are not higher, the model does not read its images."
)

_CURVES = "Perplexity on held-out dialogues during training, by learning rate. The rate with the lowest last value is taken."


def _row(result: Result, stage: str) -> list[str]:
    cells = []
    for condition in CONDITIONS:
        scores = result.scores.get(f"{stage}{CONDITIONS[condition]}")
        if scores is None:
            cells.append("not measured")
        else:
            low, high = scores.interval()
            cells.append(f"{scores.score:.3f} ({low:.3f} to {high:.3f})")
    rate = result.figures.get("chosen", {}).get(stage)
    return [stage, *cells, "" if rate is None else f"{rate:g}"]


def _lines(figures: Any, stage: str) -> list[Line]:
    found = []
    for number, curve in enumerate(one for one in figures.get("curves", ()) if one["stage"] == stage):
        pairs = [(x, math.exp(min(y, 700.0))) for x, y in zip(curve["steps"], curve["loss"], strict=True) if y is not None]
        if pairs:
            name, colour = f"{curve['learning_rate']:g}", _COLOURS[number % len(_COLOURS)]
            found.append(Line(name, [x for x, _ in pairs], [y for _, y in pairs], colour, marked=True))
    return found
