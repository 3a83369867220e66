"""Charts: bars, lines, pies and scatters, with a caption that states their words and their values.

In: a seed and an index. Out: an image, its caption, and questions whose answers are in the caption. Chart i is a pure
function of (seed, i) and of the options. The longer side is drawn from `longest`, in pixels.
Every value can be read from the image: it is written at its mark, or lies on a tick or halfway between two.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from genlip.synthetic.chart_kinds import (
    CLEAR,
    correlation,
    grouped_bars,
    horizontal_bars,
    lines,
    pie,
    scatter,
    vertical_bars,
)
from genlip.synthetic.chart_layout import COLOURS, Board, Chart, Series
from genlip.synthetic.fonts import families
from genlip.synthetic.page import RGB, paint
from genlip.synthetic.random_choices import LONGEST, RandomChoices, chosen_kind, page_size

__all__ = ["COLOURS", "KINDS", "LONGEST", "Chart", "Series", "chart", "describe", "draw", "questions"]

SHORTEST = 192  # no side is shorter, in pixels
PAPERS: tuple[RGB, ...] = ((255, 255, 255), (250, 250, 247), (255, 252, 240), (240, 244, 248), (238, 238, 238))
INKS: tuple[RGB, ...] = ((0, 0, 0), (40, 40, 40), (30, 35, 60))
SHAPES = (0.75, 1.0, 1.25, 1.4, 1.78)  # width / height


def chart(
    seed: int, index: int, longest: tuple[int, int] = LONGEST, kind: str | None = None, system_fonts: bool = False
) -> Chart:
    """Make the random choices of chart `index`, of one `kind` if named.

    `system_fonts` adds installed fonts: chart i then depends on the machine.
    """
    rng = RandomChoices(seed, index)
    kind = chosen_kind(rng, KINDS, kind)
    return KINDS[kind](rng, _board(rng, longest, system_fonts))


def draw(content: Chart) -> Image.Image:
    """The image, RGB."""
    return paint(content.page)


def describe(content: Chart) -> str:
    """The caption: kind, title, axes, every value with its category, and the highest or the trend."""
    parts = [f"A {content.kind} chart titled {content.title}."]
    if content.below:
        parts.append(f"The horizontal axis shows {content.below}, the vertical axis {content.beside}.")
    if content.kind == "scatter":
        return " ".join(parts + _scattered(content))
    place, value = _highest(content)
    return " ".join(
        [*parts, *(_listed(content, one) for one in content.series), f"The highest value is {value}, for {place}."]
    )


def questions(content: Chart) -> tuple[tuple[str, str], ...]:
    """Questions and their answers, each a piece of the caption."""
    asked = [("What is the title of the chart?", content.title), ("What kind of chart is it?", content.kind)]
    if content.below:
        asked.append(("What does the horizontal axis show?", content.below))
        asked.append(("What does the vertical axis show?", content.beside))
    if content.kind == "scatter":
        asked.append(("How many points are there?", str(len(content.across))))
        return (*asked, ("Do the points rise or fall from left to right?", _trend(content)))
    asked += [(f"What is the value for {place}?", shown) for place, shown, _ in _values(content)]
    asked += [(f"Which colour stands for {one.name}?", one.colour) for one in content.series if one.name]
    return (*asked, ("For what is the highest value?", _highest(content)[0]))


def _written(content: Chart, value: int) -> str:
    return f"{value:,}%" if content.kind == "pie" else f"{value:,}"


def _values(content: Chart) -> list[tuple[str, str, int]]:
    """Of each value: its category and series, how it is written, and what it is."""
    return [
        (" of ".join(filter(None, (category, name))), _written(content, value), value)
        for name, values, _ in content.series
        for category, value in zip(content.categories, values, strict=True)
    ]


def _listed(content: Chart, series: Series) -> str:
    """E.g. `Jan 20, Feb 35.`, or `Coast (red): Jan 20, Feb 35.`"""
    name, values, colour = series
    pairs = [f"{c} {_written(content, v)}".strip() for c, v in zip(content.categories, values, strict=True)]
    return (f"{name} ({colour}): " if name else "") + ", ".join(pairs) + "."


def _highest(content: Chart) -> tuple[str, str]:
    """Where the highest value is, which no other place has, and how it is written."""
    place, shown, _ = max(_values(content), key=lambda value: value[2])
    return place, shown


def _scattered(content: Chart) -> list[str]:
    up = content.series[0].values
    spread = f"from {min(content.across):,} to {max(content.across):,} across and from {min(up):,} to {max(up):,} up"
    return [f"{len(up)} {content.series[0].colour} points, {spread}.", f"From left to right they {_trend(content)}."]


def _trend(content: Chart) -> str:
    tilt = correlation(content.across, content.series[0].values)
    return "rise" if tilt > CLEAR else "fall" if tilt < -CLEAR else "neither rise nor fall"


def _board(rng: RandomChoices, longest: tuple[int, int], system_fonts: bool) -> Board:
    size = page_size(rng, longest, SHAPES, SHORTEST)
    family = rng.one(families(system_fonts))
    text_size = round(math.sqrt(size[0] * size[1]) / rng.between(24, 38))
    return Board(size, family, min(max(text_size, family.smallest), 22), rng.one(INKS), rng.one(PAPERS))


KINDS: dict[str, Callable[[RandomChoices, Board], Chart]] = {
    "vertical bar": vertical_bars,
    "horizontal bar": horizontal_bars,
    "grouped bar": grouped_bars,
    "line": lines,
    "pie": pie,
    "scatter": scatter,
}
