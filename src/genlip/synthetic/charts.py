"""Charts: bars, lines, pies and scatters, with a caption that states their words and their values.

In: a seed and an index. Out: an image and its caption, and questions with answers that the caption holds; chart i is a pure
function of (seed, i) and of the options. Sizes are native: the longer side is drawn from `longest`. Values can be read off
the image: they are written at their marks, or else they lie on the ticks or halfway between two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from genlip.synthetic import vocabulary as words
from genlip.synthetic.fonts import Family, families
from genlip.synthetic.page import RGB, Box, Dot, Mark, Page, Slice, Stroke, Style, Text, paint
from genlip.synthetic.random_choices import LONGEST, Lots, chosen_kind, page_size
from genlip.synthetic.text_layout import mixed, wrapped

__all__ = ["KINDS", "LONGEST", "Chart", "Series", "chart", "describe", "draw", "questions"]

SHORTEST = 192  # no side is shorter, in pixels
SHAPES = (0.75, 1.0, 1.25, 1.4, 1.78)  # width / height
PAPERS: tuple[RGB, ...] = ((255, 255, 255), (250, 250, 247), (255, 252, 240), (240, 244, 248), (238, 238, 238))
INKS: tuple[RGB, ...] = ((0, 0, 0), (40, 40, 40), (30, 35, 60))
# Far apart from each other and from paper and ink.
COLOURS: dict[str, RGB] = {
    "blue": (50, 105, 200),
    "orange": (235, 130, 30),
    "green": (60, 155, 75),
    "red": (205, 50, 50),
    "purple": (130, 85, 180),
    "brown": (135, 90, 60),
    "pink": (225, 120, 185),
    "teal": (25, 165, 170),
}
# What is counted, in what, and the steps between ticks, even so that halfway is a whole number.
MEASURES = (
    ("Bread sold", "Loaves", (4, 10, 20, 50)),
    ("Calls answered", "Calls", (50, 100, 200, 500)),
    ("Cakes baked", "Cakes", (4, 10, 20)),
    ("Apples picked", "Boxes", (2, 4, 10)),
    ("Books lent", "Books", (10, 20, 50, 100)),
    ("Power used", "Kilowatt hours", (20, 50, 100)),
    ("Tickets sold", "Tickets", (20, 50, 100, 200)),
    ("Trees planted", "Trees", (2, 4, 10, 20)),
    ("Bicycles mended", "Bicycles", (2, 4, 10)),
    ("Letters sent", "Letters", (10, 50, 100)),
    ("Hours worked", "Hours", (2, 4, 8)),
    ("Income", "Dollars", (100, 500, 1000)),
    ("Fish caught", "Kilograms", (2, 4, 20)),
    ("Parcels packed", "Parcels", (4, 10, 50)),
)
TIMES = {  # categories that come one after the other
    "Month": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "Day": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "Quarter": ("Q1", "Q2", "Q3", "Q4"),
    "Week": tuple(str(week) for week in range(1, 21)),
    "Year": tuple(str(year) for year in range(1990, 2026)),
}
GROUPS = {
    "Team": ("Lions", "Hawks", "Bears", "Wolves", "Sharks", "Foxes", "Tigers"),
    "Shop": ("North", "South", "East", "West", "Centre", "Airport"),
    "Season": ("Spring", "Summer", "Autumn", "Winter"),
    "Age": ("0-9", "10-19", "20-39", "40-59", "60-79", "80+"),
    "Town": words.TOWNS,
    "Person": words.GIVEN,
    "Food": ("Apples", "Bread", "Cheese", "Eggs", "Fish", "Grapes", "Milk", "Nuts", "Pears", "Rice", "Soup", "Tea"),
}
SERIES = (  # what is compared where there are several of them
    ("Shop A", "Shop B", "Shop C"),
    ("Men", "Women", "Children"),
    ("Inland", "Coast", "Islands"),
    ("Plan", "Result", "Forecast"),
    ("By post", "In person", "By phone"),
    ("New", "Old", "Other"),
)
SHARES = (  # what pies divide
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
INSIDE = 0.66  # of the radius of a pie: where values are written
PAIRS = (  # what scatters compare: two measures, and the steps between their ticks
    ("Age (years)", 10, "Height (centimetres)", 20),
    ("Temperature (degrees)", 4, "Ice cream (cones)", 50),
    ("Distance (kilometres)", 2, "Time (minutes)", 10),
    ("Area (square metres)", 20, "Rent (dollars)", 200),
    ("Practice (hours)", 2, "Result (points)", 4),
    ("Weight (kilograms)", 10, "Price (dollars)", 20),
    ("Speed (metres per second)", 4, "Fuel (litres)", 2),
)


class Series(NamedTuple):
    """Values of one colour, one for each category; the only series has no `name`. A slice of a pie is a series."""

    name: str
    values: tuple[int, ...]
    colour: str


class Plot(NamedTuple):
    """Where values are drawn: its edges, and the values at its right and its upper end (0 if none)."""

    left: int
    top: int
    right: int
    bottom: int
    last: int = 0
    highest: int = 0

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    def across(self, value: int) -> int:
        """The column of a value on the horizontal axis."""
        return self.left + round(value / self.last * self.width)

    def up(self, value: int) -> int:
        """The row of a value on the vertical axis."""
        return self.bottom - round(value / self.highest * self.height)


class Chart(NamedTuple):
    """What a chart holds, before it is drawn.

    `below` and `beside` are the labels of the axes, empty for a pie, whose values are percentages and whose only category
    has no name. A scatter has values `across` instead of categories.
    """

    kind: str
    title: str
    below: str
    beside: str
    categories: tuple[str, ...]
    across: tuple[int, ...]
    series: tuple[Series, ...]
    plot: Plot
    page: Page


class Board:
    """A chart while it is laid out: title, legend and labels take from its edges, values get what is left."""

    def __init__(self, size: tuple[int, int], family: Family, text_size: int, ink: RGB, paper: RGB) -> None:
        self.size, self.paper = size, paper
        self.plain, self.strong = Style(family.regular, text_size, ink), Style(family.bold, round(1.25 * text_size), ink)
        self.faint = mixed(paper, ink, 0.18)
        self.gap = max(4, text_size // 2)
        self.left = self.top = self.gap + 2
        self.right, self.bottom = size[0] - self.gap - 2, size[1] - self.gap - 2
        self.marks: list[Mark] = []

    def page(self) -> Page:
        """What has been laid out."""
        return Page(self.size, self.paper, tuple(self.marks))

    def text(self, text: str, x: float, y: float, align: float = 0.0, style: Style | None = None) -> None:
        """A text whose line starts at row `y`, and at, around or before column `x` (`align` 0, 0.5, 1)."""
        style = style or self.plain
        at = round(x - align * style.width(text)), round(y) + style.above
        self.marks.append(Text(text, at, style))

    def box(self, left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
        """A filled rectangle."""
        self.marks.append(Box((round(left), round(top), round(right), round(bottom)), fill))

    def title(self, text: str, align: float) -> None:
        """The title, on as many lines as it needs."""
        for line in wrapped(text, self.strong, self.right - self.left):
            self.text(line, self.left + align * (self.right - self.left), self.top, align, self.strong)
            self.top += self.strong.height
        self.top += self.gap

    def legend(self, entries: Sequence[tuple[str, RGB]], left: int, right: int, top: int) -> int:
        """Names with their colours, in rows from `left` to `right`; returns where the last row ends."""
        side, x = round(0.8 * self.plain.size), left
        for name, colour in entries:
            wide = side + self.gap + self.plain.width(name)
            if x > left and x + wide > right:
                x, top = left, top + self.plain.height + 2
            middle = top + self.plain.height // 2
            self.box(x, middle - side // 2, x + side, middle - side // 2 + side, colour)
            self.text(name, x + side + self.gap, top)
            x += wide + 2 * self.gap
        return top + self.plain.height + self.gap


def chart(
    seed: int, index: int, longest: tuple[int, int] = LONGEST, kind: str | None = None, system_fonts: bool = False
) -> Chart:
    """Draw the lots of chart `index`, of one `kind` if named.

    `system_fonts` adds installed fonts: chart i then depends on the machine.
    """
    lots = Lots(seed, index)
    kind = chosen_kind(lots, KINDS, kind)
    return KINDS[kind](lots, _board(lots, longest, system_fonts))


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
    tilt = _tilt(content.across, content.series[0].values)
    return "rise" if tilt > CLEAR else "fall" if tilt < -CLEAR else "neither rise nor fall"


def _tilt(across: Sequence[int], up: Sequence[int]) -> float:
    """Pearson's correlation; 0 for points in a row."""
    middle, centre = sum(across) / len(across), sum(up) / len(up)
    both = sum((x - middle) * (y - centre) for x, y in zip(across, up, strict=True))
    spread = sum((x - middle) ** 2 for x in across) * sum((y - centre) ** 2 for y in up)
    return both / math.sqrt(spread) if spread else 0.0


def _board(lots: Lots, longest: tuple[int, int], system_fonts: bool) -> Board:
    size = page_size(lots, longest, SHAPES, SHORTEST)
    family = lots.one(families(system_fonts))
    text_size = round(math.sqrt(size[0] * size[1]) / lots.between(24, 38))
    return Board(size, family, min(max(text_size, family.smallest), 22), lots.one(INKS), lots.one(PAPERS))


# -- what all charts with axes share


class Axis(NamedTuple):
    """A value axis: its label, the step between ticks, and how many steps it has."""

    label: str
    step: int
    steps: int

    @property
    def highest(self) -> int:
        """The value at its end."""
        return self.step * self.steps

    @property
    def ticks(self) -> range:
        """Values with a tick."""
        return range(0, self.highest + 1, self.step)

    def values(self, lots: Lots, count: int, any_value: bool) -> list[int]:
        """Values of which one is the highest: on ticks or halfway between them, unless `any_value` will do."""
        unit = 1 if any_value else self.step // 2
        most = lots.whole(max(2, self.highest // unit * 2 // 3), self.highest // unit)
        values = [unit * lots.whole(max(1, most // 8), most - 1) for _ in range(count)]
        values[lots.whole(0, count - 1)] = unit * most
        return values


def _in_a_year(lots: Lots) -> str:
    return f" in {lots.whole(1960, 2025)}" if lots.chance(0.4) else ""


def _headed(lots: Lots, board: Board) -> tuple[str, str, int]:
    """A title, placed; the unit of the measure that it names, and the step between ticks."""
    measure, unit, steps = lots.one(MEASURES)
    title = f"{measure} in {words.town(lots)}{_in_a_year(lots)}"
    board.title(title, 0.5 if lots.chance(0.6) else 0.0)
    return title, unit, lots.one(steps)


def _steps(pixels: int, each: float) -> int:
    """How many steps of an axis have room."""
    return max(1, min(6, int(pixels / each)))


def _plot(lots: Lots, board: Board, below: str, beside: str, rows: Sequence[str], overhang: int) -> Plot:
    """Place both labels; what is left between them, the texts of rows and those of columns."""
    line, gap = board.plain.height, board.gap
    bottom = board.bottom - 2 * line - gap - 3
    left = board.left + max(map(board.plain.width, rows)) + gap
    turned = lots.chance(0.6) and board.plain.width(beside) < bottom - board.top - line
    if turned:
        left += line + gap
    else:
        board.text(beside, board.left, board.top)
        board.top += line
    top, right = board.top + line, board.right - overhang
    if turned:
        start = (top + bottom + board.plain.width(beside)) // 2
        board.marks.append(Text(beside, (board.left + board.plain.above, start), board.plain, turned=True))
    x = min(max(board.left, (left + right - board.plain.width(below)) // 2), board.right - board.plain.width(below))
    board.text(below, x, board.bottom - line)
    return Plot(left, top, right, bottom)


def _ruled(board: Board, plot: Plot, up: Axis | None, across: Axis | None, grid: bool) -> None:
    """Axes with the ticks of values and what is written at them."""
    for value in up.ticks if up else ():
        y = plot.up(value)
        board.box(plot.left if grid else plot.left - 3, y, plot.right if grid else plot.left, y + 1, board.faint)
        board.text(f"{value:,}", plot.left - board.gap, y - board.plain.above * 0.6, 1.0)
    for value in across.ticks if across else ():
        x = plot.across(value)
        board.box(x, plot.top if grid else plot.bottom, x + 1, plot.bottom if grid else plot.bottom + 3, board.faint)
        board.text(f"{value:,}", x, plot.bottom + 3, 0.5)
    board.box(plot.left - 1, plot.top, plot.left, plot.bottom + 1, board.plain.ink)
    board.box(plot.left - 1, plot.bottom, plot.right, plot.bottom + 1, board.plain.ink)


def _times(lots: Lots, board: Board, width: int) -> tuple[str, tuple[str, ...]]:
    """A label, and categories in a row that fit side by side in `width`."""
    label = lots.one(tuple(TIMES))
    names = TIMES[label]
    fits = width // (max(map(board.plain.width, names)) + board.gap)
    count = max(2, min(fits, len(names), lots.whole(3, 12)))
    start = lots.whole(0, len(names) - count)
    return label, names[start : start + count]


def _groups(lots: Lots, board: Board, width: int) -> tuple[str, tuple[str, ...]]:
    """A label, and categories in any order that fit side by side in `width`."""
    label = lots.one(tuple(GROUPS))
    names = lots.some(GROUPS[label], lots.whole(3, 8))
    fits = width // (max(map(board.plain.width, names)) + board.gap)
    return (label, tuple(names[:fits])) if fits >= 3 else _times(lots, board, width)


def _named(lots: Lots, board: Board, many: int) -> list[tuple[str, str]]:
    """Names and colours of series, with a legend; a single one needs no name."""
    colours = lots.some(tuple(COLOURS), many)
    named = list(zip(lots.some(lots.one(SERIES), many) if many > 1 else [""], colours, strict=True))
    if many > 1:
        entries = [(name, COLOURS[colour]) for name, colour in named]
        board.top = board.legend(entries, board.left, board.right, board.top)
    return named


def _series(lots: Lots, axis: Axis, named: list[tuple[str, str]], count: int, any_value: bool) -> tuple[Series, ...]:
    """Of each name, `count` values; one value is the highest of all."""
    values = axis.values(lots, len(named) * count, any_value)
    return tuple(
        Series(name, tuple(values[number * count : (number + 1) * count]), colour)
        for number, (name, colour) in enumerate(named)
    )


# -- bars and lines


def _vertical(lots: Lots, board: Board) -> Chart:
    return _upright(lots, board, "vertical bar", 1)


def _grouped(lots: Lots, board: Board) -> Chart:
    return _upright(lots, board, "grouped bar", lots.whole(2, 3))


def _line(lots: Lots, board: Board) -> Chart:
    return _upright(lots, board, "line", lots.whole(1, 3))


def _upright(lots: Lots, board: Board, kind: str, many: int) -> Chart:
    """Categories from left to right, values upwards."""
    title, unit, step = _headed(lots, board)
    named = _named(lots, board, many)
    axis = Axis(unit, step, _steps(board.bottom - board.top - 5 * board.plain.height, 2 * board.plain.height))
    ticks = [f"{value:,}" for value in axis.ticks]
    room = board.right - board.left - board.plain.width(ticks[-1]) - board.plain.height - 2 * board.gap
    label, categories = (_times if kind == "line" or lots.chance(0.5) else _groups)(lots, board, room)
    if kind == "grouped bar":
        categories = categories[: max(2, room // (9 * many))]
    plot = _plot(lots, board, label, unit, ticks, 0)._replace(highest=axis.highest)
    slot = plot.width / len(categories)
    bar = slot * lots.between(0.6, 0.85) / many
    labelled = board.plain.width(ticks[-1]) + 2 <= (slot if many == 1 else bar) and kind != "line" and lots.chance(0.6)
    series = _series(lots, axis, named, len(categories), labelled)
    _ruled(board, plot, axis, None, lots.chance(0.6) or not labelled)
    for place, category in enumerate(categories):
        board.text(category, plot.left + slot * (place + 0.5), plot.bottom + 3, 0.5)
    if kind == "line":
        _strokes(lots, board, plot, series)
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


def _strokes(lots: Lots, board: Board, plot: Plot, series: Sequence[Series]) -> None:
    """A line for each series, with or without dots."""
    slot, thick, dotted = plot.width / len(series[0].values), max(1.5, board.plain.size / 6), lots.chance(0.6)
    for one in series:
        points = tuple((plot.left + slot * (place + 0.5), float(plot.up(value))) for place, value in enumerate(one.values))
        board.marks.append(Stroke(points, COLOURS[one.colour], thick))
        if dotted:
            board.marks += [Dot(point, 1.6 * thick, COLOURS[one.colour]) for point in points]


def _horizontal(lots: Lots, board: Board) -> Chart:
    """Categories from top to bottom, values to the right."""
    title, unit, step = _headed(lots, board)
    widest = board.plain.width(f"{6 * step:,}")
    label = lots.one(tuple(GROUPS))
    names = [name for name in GROUPS[label] if board.plain.width(name) < 0.4 * board.size[0]]
    fits = (board.bottom - board.top - 5 * board.plain.height) // (board.plain.height + 4)
    categories = tuple(lots.some(names, max(2, min(fits, lots.whole(3, 10)))))
    plot = _plot(lots, board, unit, label, categories, widest + 4)
    axis = Axis(unit, step, _steps(plot.width, widest + 3 * board.gap))
    plot = plot._replace(last=axis.highest)
    labelled = lots.chance(0.6)
    series = _series(lots, axis, [("", lots.one(tuple(COLOURS)))], len(categories), labelled)
    _ruled(board, plot, None, axis, lots.chance(0.6) or not labelled)
    slot, share = plot.height / len(categories), lots.between(0.6, 0.85)
    for place, (category, value) in enumerate(zip(categories, series[0].values, strict=True)):
        middle = plot.top + slot * (place + 0.5)
        high, row = slot * share / 2, middle - board.plain.height / 2
        board.box(plot.left, middle - high, plot.across(value), middle + high, COLOURS[series[0].colour])
        board.text(category, plot.left - board.gap, row, 1.0)
        if labelled:
            board.text(f"{value:,}", plot.across(value) + 4, row)
    return Chart("horizontal bar", title, unit, label, categories, (), series, plot, board.page())


# -- pies and scatters


def _pie(lots: Lots, board: Board) -> Chart:
    """Shares of a whole in per cent, written in the slices or in the legend."""
    what, parts = lots.one(SHARES)
    title = f"{what} in {words.town(lots)}{_in_a_year(lots)}"
    board.title(title, 0.5 if lots.chance(0.6) else 0.0)
    names, inside = lots.some(parts, lots.whole(3, min(6, len(parts)))), lots.chance(0.5)
    count = len(names)
    colours = lots.some(tuple(COLOURS), count)
    shown = names
    if inside:
        radius = _disc(board, shown, colours)
        needed = 100 * (board.plain.width("10%") + 4) / (2 * math.pi * INSIDE * radius)
        values = _percentages(lots, count, max(6, min(math.ceil(needed), 80 // count)))
    else:
        values = _percentages(lots, count, 4)
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


def _percentages(lots: Lots, count: int, smallest: int) -> list[int]:
    """Values that add up to 100, one of them higher than all others."""
    weights = [lots.between(0.05, 1.0) for _ in range(count)]
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


def _scatter(lots: Lots, board: Board) -> Chart:
    """Points that rise, that fall, or that do neither."""
    below, across_step, beside, up_step = lots.one(PAIRS)
    title = f"{below.partition(' (')[0]} and {beside.partition(' (')[0].lower()} in {words.town(lots)}"
    board.title(title, 0.5 if lots.chance(0.6) else 0.0)
    up = Axis(beside, up_step, _steps(board.bottom - board.top - 5 * board.plain.height, 2 * board.plain.height))
    widest = board.plain.width(f"{6 * across_step:,}")
    plot = _plot(lots, board, below, beside, [f"{value:,}" for value in up.ticks], widest // 2 + 1)
    across = Axis(below, across_step, _steps(plot.width, widest + 3 * board.gap))
    plot = plot._replace(last=across.highest, highest=up.highest)
    _ruled(board, plot, up, across, True)
    points = _points(lots, 2 * across.steps, 2 * up.steps, lots.one((-1, 0, 1)))
    values = [(x * across_step // 2, y * up_step // 2) for x, y in points]
    colour, apart = lots.one(tuple(COLOURS)), min(plot.width / across.steps, plot.height / up.steps) / 2
    radius = min(0.45 * apart, max(2.5, board.plain.size / 3))
    board.marks += [Dot((plot.across(x), plot.up(y)), radius, COLOURS[colour]) for x, y in values]
    series = (Series("", tuple(y for _, y in values), colour),)
    return Chart("scatter", title, below, beside, (), tuple(x for x, _ in values), series, plot, board.page())


def _points(lots: Lots, last: int, highest: int, trend: int) -> list[tuple[int, int]]:
    """Different points, counted in half steps and off the axes, whose correlation is near `trend`."""
    while True:
        points = sorted({_point(lots, last, highest, trend) for _ in range(lots.whole(8, 26))})
        if abs(_tilt(*zip(*points, strict=True)) - trend) < CLEAR - 0.1:
            return points


def _point(lots: Lots, last: int, highest: int, trend: int) -> tuple[int, int]:
    x = lots.whole(1, last)
    if not trend:
        return x, lots.whole(1, highest - 1)
    share = 0.1 + 0.8 * (x if trend > 0 else last - x) / last + lots.between(-0.15, 0.15)
    return x, min(highest - 1, max(1, round(share * highest)))


KINDS: dict[str, Callable[[Lots, Board], Chart]] = {
    "vertical bar": _vertical,
    "horizontal bar": _horizontal,
    "grouped bar": _grouped,
    "line": _line,
    "pie": _pie,
    "scatter": _scatter,
}
