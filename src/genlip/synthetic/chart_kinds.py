"""Chart kinds: bars, lines, pies and scatters, each laid out on a board.

In: random choices and an empty `Board`. Out: a `Chart`, its values and its page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from genlip.synthetic import vocabulary as words
from genlip.synthetic.chart_layout import (
    COLOURS,
    GROUPS,
    Axis,
    Board,
    Chart,
    Plot,
    Series,
    add_heading,
    draw_axes,
    fitting_groups,
    fitting_times,
    named_series,
    place_plot,
    random_year,
    series_values,
    steps_that_fit,
)
from genlip.synthetic.page import RGB, Dot, Slice, Stroke
from genlip.synthetic.random_choices import RandomChoices

__all__ = ["CLEAR", "correlation", "grouped_bars", "horizontal_bars", "lines", "pie", "scatter", "vertical_bars"]

SHARES = (  # what pies show
    (
        "Spending",
        ("Rent", "Food", "Travel", "Books", "Heating", "Music", "Savings", "Clothes", "Repairs", "Gifts", "Sports"),
    ),
    ("Votes", ("Yes", "No", "Undecided", "Absent", "Invalid")),
    ("Travel to work", ("Bus", "Train", "Car", "Bicycle", "On foot", "Tram", "Boat")),
    ("Languages", ("English", "French", "Spanish", "German", "Polish", "Dutch", "Italian", "Greek")),
    ("Trees", ("Oak", "Beech", "Pine", "Birch", "Maple", "Elm", "Ash", "Larch")),
)
CLEAR = 0.5  # correlation above which points are said to rise
INSIDE = 0.66  # of the radius of a pie: values are written at this distance from the centre
PAIRS = (  # what scatters compare: two measures, and the steps between their ticks
    ("Age (years)", 10, "Height (centimetres)", 20),
    ("Temperature (degrees)", 4, "Ice cream (cones)", 50),
    ("Distance (kilometres)", 2, "Time (minutes)", 10),
    ("Area (square metres)", 20, "Rent (dollars)", 200),
    ("Practice (hours)", 2, "Result (points)", 4),
    ("Weight (kilograms)", 10, "Price (dollars)", 20),
    ("Speed (metres per second)", 4, "Fuel (litres)", 2),
)


# -- bars and lines


def vertical_bars(rng: RandomChoices, board: Board) -> Chart:
    """One series of upright bars."""
    return _upright(rng, board, "vertical bar", 1)


def grouped_bars(rng: RandomChoices, board: Board) -> Chart:
    """Two or three series of upright bars, side by side in each category."""
    return _upright(rng, board, "grouped bar", rng.whole(2, 3))


def lines(rng: RandomChoices, board: Board) -> Chart:
    """One to three series as lines from left to right."""
    return _upright(rng, board, "line", rng.whole(1, 3))


def _upright(rng: RandomChoices, board: Board, kind: str, many: int) -> Chart:
    """Categories from left to right, values upwards."""
    title, unit, step = add_heading(rng, board)
    named = named_series(rng, board, many)
    axis = Axis(unit, step, steps_that_fit(board.bottom - board.top - 5 * board.plain.height, 2 * board.plain.height))
    ticks = [f"{value:,}" for value in axis.ticks]
    room = board.right - board.left - board.plain.width(ticks[-1]) - board.plain.height - 2 * board.gap
    label, categories = (fitting_times if kind == "line" or rng.chance(0.5) else fitting_groups)(rng, board, room)
    if kind == "grouped bar":
        categories = categories[: max(2, room // (9 * many))]
    plot = place_plot(rng, board, label, unit, ticks, 0)._replace(highest=axis.highest)
    slot = plot.width / len(categories)
    bar = slot * rng.between(0.6, 0.85) / many
    labelled = board.plain.width(ticks[-1]) + 2 <= (slot if many == 1 else bar) and kind != "line" and rng.chance(0.6)
    series = series_values(rng, axis, named, len(categories), labelled)
    draw_axes(board, plot, axis, None, rng.chance(0.6) or not labelled)
    for place, category in enumerate(categories):
        board.text(category, plot.left + slot * (place + 0.5), plot.bottom + 3, 0.5)
    if kind == "line":
        _strokes(rng, board, plot, series)
    else:
        _upright_bars(board, plot, series, bar, labelled)
    return Chart(kind, title, label, unit, categories, (), series, plot, board.page())


def _upright_bars(board: Board, plot: Plot, series: Sequence[Series], bar: float, labelled: bool) -> None:
    """Bars `bar` columns wide, those of a category side by side."""
    slot = plot.width / len(series[0].values)
    for number, one in enumerate(series):
        for place, value in enumerate(one.values):
            left = plot.left + slot * (place + 0.5) + bar * (number - len(series) / 2)
            board.box(left, plot.up(value), left + bar, plot.bottom, COLOURS[one.colour])
            if labelled:
                board.text(f"{value:,}", left + bar / 2, plot.up(value) - board.plain.height, 0.5)


def _strokes(rng: RandomChoices, board: Board, plot: Plot, series: Sequence[Series]) -> None:
    """A line for each series, with or without dots."""
    slot, thick, dotted = plot.width / len(series[0].values), max(1.5, board.plain.size / 6), rng.chance(0.6)
    for one in series:
        points = tuple((plot.left + slot * (place + 0.5), float(plot.up(value))) for place, value in enumerate(one.values))
        board.marks.append(Stroke(points, COLOURS[one.colour], thick))
        if dotted:
            board.marks += [Dot(point, 1.6 * thick, COLOURS[one.colour]) for point in points]


def horizontal_bars(rng: RandomChoices, board: Board) -> Chart:
    """Categories from top to bottom, values to the right."""
    title, unit, step = add_heading(rng, board)
    widest = board.plain.width(f"{6 * step:,}")
    label = rng.one(tuple(GROUPS))
    names = [name for name in GROUPS[label] if board.plain.width(name) < 0.4 * board.size[0]]
    fits = (board.bottom - board.top - 5 * board.plain.height) // (board.plain.height + 4)
    categories = tuple(rng.some(names, max(2, min(fits, rng.whole(3, 10)))))
    plot = place_plot(rng, board, unit, label, categories, widest + 4)
    axis = Axis(unit, step, steps_that_fit(plot.width, widest + 3 * board.gap))
    plot = plot._replace(last=axis.highest)
    labelled = rng.chance(0.6)
    series = series_values(rng, axis, [("", rng.one(tuple(COLOURS)))], len(categories), labelled)
    draw_axes(board, plot, None, axis, rng.chance(0.6) or not labelled)
    slot, share = plot.height / len(categories), rng.between(0.6, 0.85)
    for place, (category, value) in enumerate(zip(categories, series[0].values, strict=True)):
        middle = plot.top + slot * (place + 0.5)
        high, row = slot * share / 2, middle - board.plain.height / 2
        board.box(plot.left, middle - high, plot.across(value), middle + high, COLOURS[series[0].colour])
        board.text(category, plot.left - board.gap, row, 1.0)
        if labelled:
            board.text(f"{value:,}", plot.across(value) + 4, row)
    return Chart("horizontal bar", title, unit, label, categories, (), series, plot, board.page())


# -- pies and scatters


def pie(rng: RandomChoices, board: Board) -> Chart:
    """Shares of a whole in per cent, written in the slices or in the legend."""
    what, parts = rng.one(SHARES)
    title = f"{what} in {words.town(rng)}{random_year(rng)}"
    board.title(title, 0.5 if rng.chance(0.6) else 0.0)
    names, inside = rng.some(parts, rng.whole(3, min(6, len(parts)))), rng.chance(0.5)
    count = len(names)
    colours = rng.some(tuple(COLOURS), count)
    shown = names
    if inside:
        radius = _disc(board, shown, colours)
        needed = 100 * (board.plain.width("10%") + 4) / (2 * math.pi * INSIDE * radius)
        values = _percentages(rng, count, max(6, min(math.ceil(needed), 80 // count)))
    else:
        values = _percentages(rng, count, 4)
        shown = [f"{name} {value}%" for name, value in zip(names, values, strict=True)]
        radius = _disc(board, shown, colours)
    series = tuple(Series(name, (value,), colour) for name, value, colour in zip(names, values, colours, strict=True))
    plot = Plot(board.left, board.top, board.right, board.bottom)
    _slices(board, plot, radius, series, inside)
    return Chart("pie", title, "", "", ("",), (), series, plot, board.page())


def _disc(board: Board, shown: Sequence[str], colours: Sequence[str]) -> float:
    """Place the legend, beside the disc if the image is wide, else above; returns the disc's radius."""
    entries = [(text, COLOURS[colour]) for text, colour in zip(shown, colours, strict=True)]
    if board.right - board.left > board.bottom - board.top:
        left = board.right - max(map(board.plain.width, shown)) - board.plain.size - board.gap
        board.legend(entries, left, board.right, board.top + board.gap)
        board.right = left - board.gap
    else:
        board.top = board.legend(entries, board.left, board.right, board.top)
    return min(board.right - board.left, board.bottom - board.top) / 2


def _percentages(rng: RandomChoices, count: int, smallest: int) -> list[int]:
    """Values that add up to 100, one of them higher than all others."""
    weights = [rng.between(0.05, 1.0) for _ in range(count)]
    spare = 100 - count * smallest
    values = [smallest + int(spare * weight / sum(weights)) for weight in weights]
    winner = values.index(max(values))
    for place, value in enumerate(values):
        if value == values[winner] and place != winner:
            values[place] -= 1
    values[winner] += 100 - sum(values)
    return values


def _slices(board: Board, plot: Plot, radius: float, series: Sequence[Series], inside: bool) -> None:
    """Clockwise from the top, in the order of the legend."""
    centre, begin = (plot.left + plot.width / 2, plot.top + plot.height / 2), 0
    for _, (value,), colour in series:
        board.marks.append(Slice(centre, radius, (begin / 100, (begin + value) / 100), COLOURS[colour]))
        if inside:
            angle = 2 * math.pi * (begin + value / 2) / 100
            x = centre[0] + INSIDE * radius * math.sin(angle)
            y = centre[1] - INSIDE * radius * math.cos(angle) - board.plain.height / 2
            board.text(f"{value}%", x, y, 0.5, board.plain._replace(ink=_readable_on(COLOURS[colour])))
        begin += value


def _readable_on(colour: RGB) -> RGB:
    red, green, blue = colour
    return (0, 0, 0) if 0.3 * red + 0.6 * green + 0.1 * blue > 125 else (255, 255, 255)


def scatter(rng: RandomChoices, board: Board) -> Chart:
    """Points that rise, that fall, or that do neither."""
    below, across_step, beside, up_step = rng.one(PAIRS)
    title = f"{below.partition(' (')[0]} and {beside.partition(' (')[0].lower()} in {words.town(rng)}"
    board.title(title, 0.5 if rng.chance(0.6) else 0.0)
    up = Axis(beside, up_step, steps_that_fit(board.bottom - board.top - 5 * board.plain.height, 2 * board.plain.height))
    widest = board.plain.width(f"{6 * across_step:,}")
    plot = place_plot(rng, board, below, beside, [f"{value:,}" for value in up.ticks], widest // 2 + 1)
    across = Axis(below, across_step, steps_that_fit(plot.width, widest + 3 * board.gap))
    plot = plot._replace(last=across.highest, highest=up.highest)
    draw_axes(board, plot, up, across, True)
    points = _points(rng, 2 * across.steps, 2 * up.steps, rng.one((-1, 0, 1)))
    values = [(x * across_step // 2, y * up_step // 2) for x, y in points]
    colour, apart = rng.one(tuple(COLOURS)), min(plot.width / across.steps, plot.height / up.steps) / 2
    radius = min(0.45 * apart, max(2.5, board.plain.size / 3))
    board.marks += [Dot((plot.across(x), plot.up(y)), radius, COLOURS[colour]) for x, y in values]
    series = (Series("", tuple(y for _, y in values), colour),)
    return Chart("scatter", title, below, beside, (), tuple(x for x, _ in values), series, plot, board.page())


def _points(rng: RandomChoices, last: int, highest: int, trend: int) -> list[tuple[int, int]]:
    """Different points, counted in half steps and off the axes, whose correlation is near `trend`."""
    while True:
        points = sorted({_point(rng, last, highest, trend) for _ in range(rng.whole(8, 26))})
        if abs(correlation(*zip(*points, strict=True)) - trend) < CLEAR - 0.1:
            return points


def _point(rng: RandomChoices, last: int, highest: int, trend: int) -> tuple[int, int]:
    x = rng.whole(1, last)
    if not trend:
        return x, rng.whole(1, highest - 1)
    share = 0.1 + 0.8 * (x if trend > 0 else last - x) / last + rng.between(-0.15, 0.15)
    return x, min(highest - 1, max(1, round(share * highest)))


def correlation(across: Sequence[int], up: Sequence[int]) -> float:
    """Pearson's correlation; 0 for points in a row."""
    middle, centre = sum(across) / len(across), sum(up) / len(up)
    both = sum((x - middle) * (y - centre) for x, y in zip(across, up, strict=True))
    spread = sum((x - middle) ** 2 for x in across) * sum((y - centre) ** 2 for y in up)
    return both / math.sqrt(spread) if spread else 0.0
