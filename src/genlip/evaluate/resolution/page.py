"""Page: the part of a page about scores over resolutions.

In: a stored result. Out: a section with a curve and a table for each score.
"""

from __future__ import annotations

from collections.abc import Iterator

from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores, difference
from genlip.model.writing import finite_or_none
from genlip.report import charts, html
from genlip.report.charts import Line
from genlip.report.html import Section

__all__ = ["section"]


def section(result: Result) -> Section:
    """The page's part on a stored curve over sizes."""
    names, points = result.figures["scores"], result.figures["points"]
    drawn = (charts.chart(name, _lines(result, name), below="patches") for name in names)
    tables = (part for name in names for part in (html.paragraphs(f"{name}:"), _table(result, name)))
    inner = result.settings["measurement"]
    return Section(
        f"Over resolutions: {inner}",
        html.paragraphs(_MEASURED.format(inner=inner, sizes=len(points), images=len(result.keys)))
        + html.side_by_side(*drawn)
        + html.paragraphs(_READ)
        + "".join(tables),
    )


_MEASURED = (
    "The measurement “{inner}” at {sizes} sizes, on the same {images} images. Larger images have more patches: finer "
    "details, and more to compute. The model was not trained again for any size. Native sizes are named by the most patches "
    "that an image may have: one that is small already does not change with them."
)


_READ = (
    "Each score with the range in which 95 % of resampled sets of images lie, and its difference to the first size, of "
    "which the range is that of the same resampled images at both sizes. A range that leaves out 0 is more than chance."
)


def _lines(result: Result, name: str) -> list[Line]:
    """A curve for fixed sizes and one for native budgets, in order of patches."""
    lines = []
    for resize, colour in (("fixed", "blue"), ("native", "orange")):
        places = sorted(_places(result, name, resize))
        if places:
            lines.append(Line(resize, [x for x, _ in places], [y for _, y in places], colour, marked=True))
    return lines


def _places(result: Result, name: str, resize: str) -> Iterator[tuple[int, float]]:
    for point in result.figures["points"]:
        value = point["scores"][name][0]
        if point["resize"] == resize and value is not None:
            yield point["patches"], value


def _table(result: Result, name: str) -> str:
    points = result.figures["points"]
    scores = [result.scores[f"{name} at {point['name']}"] for point in points]
    rows = [
        [point["name"], str(point["patches"]), _shown(*point["scores"][name]), _against(scores[0], one, place)]
        for place, (point, one) in enumerate(zip(points, scores, strict=True))
    ]
    return html.table(["size", "patches", name, "against the first"], rows)


def _against(first: Scores, one: Scores, place: int) -> str:
    if not place:
        return ""
    value, low, high = map(finite_or_none, difference(first, one))
    return _shown(value, low, high, "+")


def _shown(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if value is None or low is None or high is None:
        return "not measured"
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
