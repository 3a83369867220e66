"""Chart layout: what every chart is made of: its data, the board on which it is laid out, and axes.

In: random choices, a board, labels. Out: marks on the board, and the `Plot` that maps values to pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from genlip.synthetic import vocabulary as words
from genlip.synthetic.fonts import Family
from genlip.synthetic.page import RGB, Box, Mark, Page, Style, Text
from genlip.synthetic.random_choices import RandomChoices
from genlip.synthetic.text_layout import mixed, wrapped

__all__ = [
    "COLOURS", "GROUPS", "TIMES", "Axis", "Board", "Chart", "Plot", "Series", "add_heading", "draw_axes", "fitting_groups",
    "fitting_times", "named_series", "place_plot", "random_year", "series_values", "steps_that_fit",
]  # fmt: skip

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
# What is counted, its unit, and the steps between ticks. Steps are even, so that half a step is a whole number.
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


class Series(NamedTuple):
    """Values of one colour, one for each category.

    `name` is empty if there is only one series. A slice of a pie is a series.
    """

    name: str
    values: tuple[int, ...]
    colour: str


class Plot(NamedTuple):
    """Where values are drawn: edges in pixels, and the values at the right and the upper edge (0 if there is no such
    axis)."""

    left: int
    top: int
    right: int
    bottom: int
    last: int = 0
    highest: int = 0

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
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
    """A chart during layout. Title, legend and labels take space from the edges; the plot gets the rest."""

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
        """Add a text at row `y`: left-aligned at, centred on or right-aligned at column `x` (`align` 0, 0.5, 1)."""
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

    def values(self, rng: RandomChoices, count: int, any_value: bool) -> list[int]:
        """Values with a single highest one; on ticks or halfway between them, unless `any_value`."""
        unit = 1 if any_value else self.step // 2
        most = rng.whole(max(2, self.highest // unit * 2 // 3), self.highest // unit)
        values = [unit * rng.whole(max(1, most // 8), most - 1) for _ in range(count)]
        values[rng.whole(0, count - 1)] = unit * most
        return values


def random_year(rng: RandomChoices) -> str:
    """ " in 1987" in two of five titles, else ""."""
    return f" in {rng.whole(1960, 2025)}" if rng.chance(0.4) else ""


def add_heading(rng: RandomChoices, board: Board) -> tuple[str, str, int]:
    """Add a title. Returns it, the unit of its measure, and the step between ticks."""
    measure, unit, steps = rng.one(MEASURES)
    title = f"{measure} in {words.town(rng)}{random_year(rng)}"
    board.title(title, 0.5 if rng.chance(0.6) else 0.0)
    return title, unit, rng.one(steps)


def steps_that_fit(pixels: int, each: float) -> int:
    """How many steps of an axis have room."""
    return max(1, min(6, int(pixels / each)))


def place_plot(rng: RandomChoices, board: Board, below: str, beside: str, rows: Sequence[str], overhang: int) -> Plot:
    """Place both axis labels. Returns the plot: the space left beside the row texts and above the column texts."""
    line, gap = board.plain.height, board.gap
    bottom = board.bottom - 2 * line - gap - 3
    left = board.left + max(map(board.plain.width, rows)) + gap
    turned = rng.chance(0.6) and board.plain.width(beside) < bottom - board.top - line
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


def draw_axes(board: Board, plot: Plot, up: Axis | None, across: Axis | None, grid: bool) -> None:
    """Draw the axes with ticks, tick labels and, if `grid`, grid lines."""
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


def fitting_times(rng: RandomChoices, board: Board, width: int) -> tuple[str, tuple[str, ...]]:
    """A label, and categories in a row that fit side by side in `width`."""
    label = rng.one(tuple(TIMES))
    names = TIMES[label]
    fits = width // (max(map(board.plain.width, names)) + board.gap)
    count = max(2, min(fits, len(names), rng.whole(3, 12)))
    start = rng.whole(0, len(names) - count)
    return label, names[start : start + count]


def fitting_groups(rng: RandomChoices, board: Board, width: int) -> tuple[str, tuple[str, ...]]:
    """A label, and categories in any order that fit side by side in `width`."""
    label = rng.one(tuple(GROUPS))
    names = rng.some(GROUPS[label], rng.whole(3, 8))
    fits = width // (max(map(board.plain.width, names)) + board.gap)
    return (label, tuple(names[:fits])) if fits >= 3 else fitting_times(rng, board, width)


def named_series(rng: RandomChoices, board: Board, many: int) -> list[tuple[str, str]]:
    """Names and colours of series; adds a legend if there are several. A single series has no name."""
    colours = rng.some(tuple(COLOURS), many)
    named = list(zip(rng.some(rng.one(SERIES), many) if many > 1 else [""], colours, strict=True))
    if many > 1:
        entries = [(name, COLOURS[colour]) for name, colour in named]
        board.top = board.legend(entries, board.left, board.right, board.top)
    return named


def series_values(
    rng: RandomChoices, axis: Axis, named: list[tuple[str, str]], count: int, any_value: bool
) -> tuple[Series, ...]:
    """A series of `count` values for each name; one value is the highest of all."""
    values = axis.values(rng, len(named) * count, any_value)
    return tuple(
        Series(name, tuple(values[number * count : (number + 1) * count]), colour)
        for number, (name, colour) in enumerate(named)
    )
