"""Charts: values at the right places of the SVG, in the page's colours."""

import re
from itertools import pairwise

import numpy as np
import pytest

from genlip.evaluate.scores import Scores
from genlip.report import charts
from genlip.report.charts import Line

from .helpers import EVIL, SVG, Checker, svg_of


def test_a_chart_puts_values_where_they_belong() -> None:
    markup = charts.chart("gain", [Line("x", [0, 100, 300], [0.0, 1.0, 4.0], "orange", marked=True)])
    dots = [
        (float(dot.get("x", 0)), float(dot.get("y", 0))) for dot in svg_of(markup).iter(f"{SVG}use") if "x" in dot.attrib
    ]
    (x0, y0), (x1, y1), (x2, y2) = dots[-3:]  # ticks have marks too, and are drawn first
    assert (x2 - x0) / (x1 - x0) == pytest.approx(3, rel=1e-3)
    assert (y2 - y0) / (y1 - y0) == pytest.approx(4, rel=1e-3)
    assert x0 < x1
    assert y0 > y1, "SVG counts downwards"


def test_charts_take_the_colours_of_the_page() -> None:
    events = [{"step": 1, "loss": 2.0, "picture_gain": 0.5}]
    markup = charts.loss_chart(events, events) + charts.gain_chart(events)
    assert "var(--blue)" in markup
    assert "var(--orange)" in markup
    assert "var(--text)" in markup
    assert not re.search(r"#0{5}[1-4]", markup)


def test_a_logarithmic_chart_survives_a_loss_of_zero() -> None:
    markup = charts.chart("loss", [Line("x", [1, 2], [1.0, 0.0])], logarithmic=True)
    Checker(markup)
    assert "<svg" in markup


def bars_of(html: str) -> list[tuple[float, float, float]]:
    """(left, right, height) of each bar, in the units of the SVG."""
    paths = [path for path in svg_of(html).iter(f"{SVG}path") if "var(--blue)" in path.get("style", "")]
    corners = [[float(n) for n in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", path.attrib["d"])] for path in paths]
    return [(min(c[::2]), max(c[::2]), max(c[1::2]) - min(c[1::2])) for c in corners]


@pytest.mark.parametrize("values", [[2, 2, 2, 5, 5, 9], [7], [3, 4], [-2, 0, 0, 3]])
def test_a_histogram_of_few_whole_numbers_has_a_bar_for_each(values: list[int]) -> None:
    heights = np.array([height for *_, height in bars_of(charts.histogram("h", values, "u"))])
    counts = np.array([values.count(value) for value in range(min(values), max(values) + 1)])
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-3)


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        (np.arange(100, 1000), False),
        (np.linspace(0.5, 7.0, 500), False),
        (np.geomspace(0.001, 1000, 500), True),
        (np.unique(np.geomspace(1, 1e6, 500).round()), True),
        (np.array([0, *range(1000)]), False),
    ],
)
def test_a_histogram_counts_every_value_and_is_logarithmic_over_decades(values: np.ndarray, logarithmic: bool) -> None:
    edges = charts._edges(np.asarray(values, float), logarithmic)
    bars = bars_of(charts.histogram("h", values, "u"))
    counts = np.array([((values >= low) & (values < high)).sum() for low, high in pairwise(edges)])
    counts[-1] += (values == edges[-1]).sum()
    assert counts.sum() == len(values)
    heights = np.array([height for *_, height in bars])
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-2)
    middles = np.array([(left + right) / 2 for left, right, _ in bars])
    low, high = (np.log(edges[:-1]), np.log(edges[1:])) if logarithmic else (edges[:-1], edges[1:])
    assert np.corrcoef(middles, (low + high) / 2)[0, 1] > 0.999


def test_a_linear_histogram_of_whole_numbers_gives_each_bin_equally_many() -> None:
    edges = charts._edges(np.arange(5.0, 105.0), False)
    counts = np.histogram(np.arange(5, 105), edges)[0]
    assert set(counts[:-1].tolist()) == {4}
    assert counts.sum() == 100


def test_a_histogram_names_its_median_and_what_it_counts() -> None:
    text = Checker(charts.histogram("Width", [1, 64, 20000], "pixels", "drawings")).text
    assert "median 64 of 3 drawings" in text
    assert "var(--blue)" in charts.histogram("Width", [1, 2], "pixels")


def scores(*values: float) -> Scores:
    return Scores.mean(values)


def test_bars_are_as_long_as_scores_and_stand_in_order() -> None:
    markup = charts.bars("by class", ["a", "b", "c"], [scores(0.25), scores(0.5), scores(1.0)])
    lengths = [right - left for left, right, _ in bars_of(markup)]
    assert lengths == pytest.approx([lengths[2] / 4, lengths[2] / 2, lengths[2]], rel=1e-3)
    assert len({round(left, 3) for left, _, _ in bars_of(markup)}) == 1, "all start at 0"


def test_the_line_of_a_bar_spans_its_interval() -> None:
    some = scores(*[1.0] * 30, *[0.0] * 70)
    markup = charts.bars("by class", ["a", "all"], [some, scores(1.0)])
    lines = [path for path in svg_of(markup).iter(f"{SVG}path") if "stroke-width: 1.4" in path.get("style", "")]
    ends = [float(number) for number in re.findall(r"[ML] (-?[\d.]+)", lines[0].attrib["d"])]
    (left, right, _), (_, one, _) = bars_of(markup)
    unit = one - left
    assert [(end - left) / unit for end in ends] == pytest.approx(some.interval(), abs=1e-3)
    assert (right - left) / unit == pytest.approx(0.3, abs=1e-3)


def test_negative_scores_have_bars_too() -> None:
    (left, right, _), (other, far, _) = bars_of(charts.bars("gain", ["a", "b"], [scores(-0.5), scores(1.0)]))
    assert right == pytest.approx(other, abs=1e-3)
    assert (far - other) / (right - left) == pytest.approx(2, rel=1e-3)


def test_names_of_bars_and_lines_are_no_formulas() -> None:
    name = r"$\nonsense$"
    Checker(charts.bars("x", [name, "n" * 500], [scores(1.0), scores(0.5)], note=EVIL))
    Checker(charts.chart("x", [Line(name, [1], [1]), Line("y", [1], [2])], below=name))


def test_names_that_utf8_cannot_write_are_drawn() -> None:
    for name in ("caf\udce9", "half \ud800", "red \x1b[31m"):
        Checker(charts.bars("x", [name, "b"], [scores(1.0), scores(0.5)], note=name))
        Checker(charts.chart("x", [Line(name, [1], [1]), Line("y", [1], [2])], below=name))


def test_a_chart_says_what_is_below_it_and_only_steps_start_at_0() -> None:
    def first_dot(below: str) -> tuple[float, float]:
        markup = charts.chart("x", [Line("x", [100, 110, 120], [1.0, 2.0, 3.0], "orange", marked=True)], below=below)
        marks = [float(dot.get("x", 0)) for dot in svg_of(markup).iter(f"{SVG}use") if "x" in dot.attrib]
        return marks[-3], marks[-1]

    (step, last_step), (layer, last_layer) = first_dot("step"), first_dot("layer")
    assert last_layer - layer > 4 * (last_step - step)
