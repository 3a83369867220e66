"""Charts: curves, bars and histograms as SVG in the page's colours.

In: figures. Out: a <figure> of HTML with an inline SVG, drawn by matplotlib. Colours are custom properties of the page (CSS
variables), so that charts follow the reader's light or dark mode.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from genlip.report.formatting import short_number
from genlip.report.html import escape
from genlip.terminal import harmless

__all__ = ["Estimate", "Line", "bars", "chart", "curve", "gain_chart", "histogram", "loss_chart", "thin"]


class Estimate(Protocol):
    """A score with its confidence interval."""

    @property
    def score(self) -> float: ...  # noqa: D102
    def interval(self) -> tuple[float, float]: ...  # noqa: D102


class Line(NamedTuple):
    """A curve over the steps of a run. `colour` is "blue" or "orange"; `marked` draws a dot at each value.

    For a long curve, `chart` draws only the points that `thin` keeps.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str = "blue"
    marked: bool = False


def loss_chart(train: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> str:
    """Training and held-out loss of log events over the steps."""
    lines = [curve("training", train, "loss"), curve("held out", held_out, "loss", "orange", marked=True)]
    return chart("Loss, in nats per token", lines, logarithmic=True)


def gain_chart(held_out: Sequence[Mapping[str, Any]]) -> str:
    """The picture gain of held-out log events over the steps."""
    return chart("Picture gain, in nats per token", [curve("picture gain", held_out, "picture_gain", "orange", marked=True)])


def curve(
    name: str, events: Iterable[Mapping[str, Any]], key: str, colour: str = "blue", marked: bool = False, scale: float = 1
) -> Line:
    """A figure of log events over their steps, times `scale`; events without it are skipped."""
    found = [(event["step"], scale * event[key]) for event in events if event.get(key) is not None]
    return Line(name, [step for step, _ in found], [value for _, value in found], colour, marked)


def thin(values: Sequence[float], points: int = 1000) -> list[int]:
    """Indices of about `points` values for drawing a curve: minimum and maximum of each interval, and both ends."""
    if len(values) <= points:
        return list(range(len(values)))
    found = np.asarray(values, dtype=np.float64)
    edges = np.linspace(0, len(found), points // 2 + 1).astype(int)
    kept = {0, len(found) - 1}
    for start, end in pairwise(edges):
        kept |= {start + int(found[start:end].argmin()), start + int(found[start:end].argmax())}
    return sorted(kept)


def chart(title: str, lines: Sequence[Line], logarithmic: bool = False, below: str = "step") -> str:
    """Curves over the steps, or over the quantity named by `below`, as SVG.

    A linear axis includes 0. A logarithmic axis shows only positive values, and becomes linear if they are close together.
    """
    figure = Figure(figsize=(5.2, 3.1), layout="constrained")
    axes = figure.add_subplot()
    lines = [line for line in lines if line.values]
    for line in lines:
        _draw(axes, line)
    if logarithmic:
        _make_logarithmic(axes, lines)
    else:
        least = min((value for line in lines for value in line.values), default=0.0)
        axes.set_ylim(bottom=0.0 if least >= 0 else axes.get_ylim()[0])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    if below == "step":
        axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    _style_axes(axes, below)
    if len(lines) > 1:
        axes.legend(frameon=False, labelcolor=_COLOURS["text"], loc="best")
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{_svg(figure, title)}</figure>'


def bars(title: str, names: Sequence[str], scores: Sequence[Estimate], note: str = "") -> str:
    """Scores as horizontal bars with their intervals, as SVG; the axis includes 0, and long names are cut."""
    figure = Figure(figsize=(5.2, 0.6 + 0.34 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    values, ends = [one.score for one in scores], [one.interval() for one in scores]
    places = range(len(names), 0, -1)
    axes.barh(list(places), values, height=0.6, color=_COLOURS["blue"])
    for place, (low, high) in zip(places, ends, strict=True):
        axes.plot([low, high], [place, place], color=_COLOURS["text"], linewidth=1.4, solid_capstyle="butt")
    axes.set_yticks(list(places), [_literal(name if len(name) <= _NAME else f"{name[: _NAME - 1]}…") for name in names])
    axes.set_ylim(0.4, len(names) + 0.6)
    axes.set_xlim(left=min([0.0, *(low for low, _ in ends if low < 0)]))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _style_axes(axes, "", "x")
    small = f"<small>{escape(note)}</small>" if note else ""
    return f'<figure class="chart"><figcaption>{escape(title)}{small}</figcaption>{_svg(figure, title)}</figure>'


def histogram(title: str, values: Sequence[float] | np.ndarray, unit: str, what: str = "images") -> str:
    """A histogram as SVG. The values' axis is logarithmic if they are positive and span decades.

    unit   of the values, shown below their axis
    what   the things that are counted, named beside the median
    """
    found = np.asarray(values, dtype=np.float64)
    logarithmic = bool(found.min() > 0) and found.max() > _WIDE_RANGE * found.min()
    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(found, _edges(found, logarithmic).tolist(), color=_COLOURS["blue"], rwidth=0.92)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if found.max() < 300 * found.min() else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    close = found.max() - found.min() < 0.02 * abs(found.max())  # three digits would give equal labels
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}" if close else short_number(value)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _style_axes(axes, unit)
    note = f"<small>median {short_number(float(np.median(found)))} of {len(found):,} {escape(what)}</small>"
    return f'<figure class="chart"><figcaption>{escape(title)}{note}</figcaption>{_svg(figure, title)}</figure>'


# Placeholder colours for matplotlib; `_svg` replaces them by the page's CSS variables.
_COLOURS = {"text": "#000001", "grey": "#000002", "blue": "#000003", "orange": "#000004"}


def _draw(axes: Axes, line: Line) -> None:
    """Draw one curve, thinned if it is long; a single value is a dot."""
    kept = thin(line.values)
    dot = "o" if line.marked or len(kept) == 1 else None
    axes.plot(
        [line.steps[i] for i in kept],
        [line.values[i] for i in kept],
        color=_COLOURS[line.colour],
        marker=dot,
        markersize=4 if len(kept) < 100 else 2,
        linewidth=1.8 if len(kept) < 500 else 1.0,
        label=_literal(line.name),
    )


def _make_logarithmic(axes: Axes, lines: Sequence[Line]) -> None:
    """A logarithmic axis with plain numbers, and with more labels if the values span a smaller range."""
    values = [value for line in lines for value in line.values if value > 0]
    if values and max(values) < 4 * min(values):  # too few round numbers in this range for labels: stay linear
        return
    narrow = not values or max(values) < 100 * min(values)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _style_axes(axes: Axes, below: str, lines: Literal["x", "y"] = "y") -> None:
    """No box, light grid lines across the values' axis, the page's colours."""
    axes.set_xlabel(_literal(below), color=_COLOURS["grey"])
    axes.tick_params(colors=_COLOURS["grey"], length=0)
    axes.grid(axis=lines, color=_COLOURS["grey"], alpha=0.25, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set_visible(side == ("bottom" if lines == "y" else "left"))
        spine.set_color(_COLOURS["grey"])


_NAME = 30  # characters of a name beside a bar


def _literal(text: str) -> str:
    """A text that matplotlib draws unchanged: dollar signs, which would start a formula, are escaped.

    `harmless` replaces surrogates, on which matplotlib fails, and control characters, of which it warns.
    """
    return harmless(text).replace("$", r"\$")


_WIDE_RANGE = 30  # ratio of largest to least value from which the axis is logarithmic
_BINS = 32


def _edges(found: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Edges of the bins. For whole numbers on a linear axis, every bin covers equally many numbers."""
    least, most = float(found.min()), float(found.max())
    whole = bool((found % 1 == 0).all())
    if logarithmic:
        edges = np.geomspace(least, most + 1 if whole else most, _BINS + 1)
        edges[0], edges[-1] = least, max(most, edges[-1])  # rounding may have moved them inwards
        return np.unique(np.rint(edges)) - 0.5 if whole else edges
    if whole:
        width = math.ceil((most - least + 1) / _BINS)
        return np.arange(least - 0.5, most + width, width)
    return np.linspace(least, most, _BINS + 1)


def _svg(figure: Figure, label: str) -> str:
    """A figure as inline SVG in the page's colours, without metadata, styles and comments."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": label}):  # without a salt, ids are random and pages not reproducible
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text[text.index("<svg") :])
    for name, colour in _COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
