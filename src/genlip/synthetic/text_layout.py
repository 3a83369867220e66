"""Text layout: fills a page from top to bottom with measured text.

In: a size, a look, then lines, paragraphs, rules and tables. Out: a `Page` in reading order, whose texts lie inside it and
    do not overlap, and the questions that were added. Callers check with `room` whether something fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from genlip.synthetic.fonts import Family
from genlip.synthetic.page import RGB, Box, Mark, Page, Style, Text
from genlip.synthetic.random_choices import RandomChoices

__all__ = ["Column", "Look", "Span", "TextLayout", "add_title", "fitting", "mixed", "wrapped"]


class Span(NamedTuple):
    """Columns of pixels, from `left` up to `right`."""

    left: int
    right: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left


class Look(NamedTuple):
    """What the styles of a page share. `leading` is the distance between lines divided by their height."""

    family: Family
    size: int
    ink: RGB
    accent: RGB
    paper: RGB
    leading: float

    @property
    def body(self) -> Style:
        """Running text."""
        return Style(self.family.regular, self.size, self.ink)

    @property
    def italic(self) -> Style:
        """Running text, slanted."""
        return Style(self.family.italic, self.size, self.ink)

    def bold(self, scale: float = 1.0, ink: RGB | None = None) -> Style:
        """A heading, `scale` times the size of running text."""
        return Style(self.family.bold, round(self.size * scale), ink or self.ink)


class Column(NamedTuple):
    """A column of a table, its heading first."""

    cells: tuple[str, ...]
    flush_right: bool = False


class TextLayout:
    """A page during layout: `y` is the top of the next line, `span` the columns that it may use, in pixels."""

    def __init__(self, size: tuple[int, int], margin: int, look: Look) -> None:
        self.size, self.look = size, look
        self.span = Span(margin, size[0] - margin)
        self.y, self.bottom = margin, size[1] - margin
        self.marks: list[Mark] = []
        self.questions: list[tuple[str, str]] = []

    def page(self) -> Page:
        """The page so far."""
        return Page(self.size, self.look.paper, tuple(self.marks))

    def cut(self, shortest: int) -> None:
        """Cut the page below its last mark, to at least `shortest` pixels."""
        below = max(
            mark.at[1] + mark.style.below if isinstance(mark, Text) else mark.corners[3]
            for mark in self.marks
            if isinstance(mark, Text | Box)
        )
        self.size = self.size[0], max(shortest, min(self.size[1], below + self.span.left))

    def add_question(self, question: str, answer: str) -> None:
        """Add a question that the page answers."""
        self.questions.append((question, answer))

    def step(self, style: Style) -> int:
        """Rows from one line to the next."""
        return round(style.height * self.look.leading)

    def room(self, *styles: Style) -> bool:
        """Does a line of each fit?"""
        return self.y + sum(self.step(style) for style in styles) <= self.bottom

    def gap(self, lines: float) -> None:
        """Leave the height of so many lines of running text empty."""
        self.y += round(lines * self.step(self.look.body))

    def place(
        self, text: str, style: Style, span: Span, before: str = "\n", align: float = 0.0, beside: Style | None = None
    ) -> None:
        """A text on the line at `y`, `align` of the way from flush left to flush right; `y` stays.

        A text in another style that stands `beside` this one on the line has the same baseline.
        """
        x = span.left + round(align * (span.width - style.width(text)))
        self.marks.append(Text(text, (x, self.y + (beside or style).above), style, before))

    def line(self, text: str, style: Style, before: str = "\n", align: float = 0.0) -> None:
        """A line that fits."""
        self.place(text, style, self.span, before, align)
        self.y += self.step(style)

    def lines(self, text: str, style: Style, before: str = "\n", align: float = 0.0) -> None:
        """As many lines as the text needs."""
        for line in wrapped(text, style, self.span.width):
            self.line(line, style, before, align)
            before = " "

    def pair(self, text: str, other: str, style: Style, before: str = " ") -> None:
        """A line with one text on the left and one on the right."""
        self.place(text, style, self.span)
        self.line(other, style, before, align=1.0)

    def paragraph(self, sentence: Callable[[], str], count: int, style: Style) -> bool:
        """Up to `count` sentences, as many as fit. False if none fits."""
        lines: list[str] = []
        for _ in range(count):
            longer = wrapped(sentence(), style, self.span.width, lines)
            if not self.room(*[style] * len(longer)):
                break
            lines = longer
        for number, line in enumerate(lines):
            self.line(line, style, " " if number else "\n")
        return bool(lines)

    def rule(self, ink: RGB) -> None:
        """A line across, and some space."""
        self.box(self.span, 1, fill=ink)
        self.y += 1 + max(3, self.look.size // 3)

    def box(self, span: Span, height: int, fill: RGB | None = None, outline: RGB | None = None, thick: int = 1) -> None:
        """A rectangle from `y` downwards; `y` stays."""
        self.marks.append(Box((span.left, self.y, span.right, self.y + height), fill, outline, thick))

    def table(self, columns: Sequence[Column], ruled: bool = False, striped: bool = False, filled: bool = False) -> None:
        """A table of full width. The first column takes the remaining width; headings may have a `filled` background."""
        pad, inset, spans = self.padding, self.inset, self._spans(columns)
        height, rows = self.row, len(columns[0].cells)
        for row in range(rows):
            heading = row == 0
            style = self.look.bold(ink=self.look.paper if filled else None) if heading else self.look.body
            if (heading and filled) or (not heading and striped and row % 2 == 0):
                self.box(self.span, height, self.look.accent if heading else mixed(self.look.paper, self.look.accent, 0.1))
            elif ruled or row == 1:
                self.box(self.span, 1, mixed(self.look.paper, self.look.ink, 0.35 if row > 1 else 0.8))
            self.y += pad
            for column, span in zip(columns, spans, strict=True):
                cell = Span(span.left + inset, span.right - inset)
                first = column is columns[0]
                self.place(column.cells[row], style, cell, "\n" if first else " | ", align=float(column.flush_right))
            self.y += height - pad
        self.box(self.span, 1, mixed(self.look.paper, self.look.ink, 0.5))
        self.y += 1

    @property
    def padding(self) -> int:
        """Above and below the text of a cell."""
        return max(3, self.look.size // 3)

    @property
    def inset(self) -> int:
        """Left and right of the text of a cell."""
        return round(0.55 * self.look.size)

    @property
    def row(self) -> int:
        """Rows of pixels of a row of a table."""
        return max(self.look.body.height, self.look.bold().height) + 2 * self.padding

    def needs(self, columns: Sequence[Column]) -> int:
        """Width of a table of these columns."""
        return sum(self._natural(column) for column in columns)

    def _natural(self, column: Column) -> int:
        body, bold = self.look.body, self.look.bold()
        return max(bold.width(column.cells[0]), *(body.width(cell) for cell in column.cells[1:])) + 2 * self.inset

    def _spans(self, columns: Sequence[Column]) -> list[Span]:
        widths = [self._natural(column) for column in columns]
        spare = self.span.width - sum(widths)
        shares = [spare - (len(columns) - 1) * (spare // (len(columns) + 1))] + [spare // (len(columns) + 1)] * len(columns)
        spans, left = [], self.span.left
        for width, share in zip(widths, shares, strict=False):
            spans.append(Span(left, left + width + share))
            left += width + share
        return spans


def wrapped(text: str, style: Style, columns: int, lines: Sequence[str] = ()) -> list[str]:
    """`lines` and then the text, broken between words where a line would be wider than `columns`."""
    broken, space = list(lines), style.width(" ")
    used = style.width(broken[-1]) if broken else columns
    for word in text.split(" "):
        wide = style.width(word)
        if used + space + wide <= columns:
            broken[-1] += f" {word}"
            used += space + wide
        else:
            broken.append(word)
            used = wide
    return broken


def mixed(one: RGB, other: RGB, share: float) -> RGB:
    """A mix of two colours; `share` 0 gives the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def fitting(rng: RandomChoices, make: Callable[[RandomChoices], str], style: Style, columns: int) -> str:
    """A text of at most `columns` pixels: the first of twelve tries that fits, else the last words of the narrowest."""
    texts = []
    for _ in range(12):
        texts.append(make(rng))
        if style.width(texts[-1]) <= columns:
            return texts[-1]
    narrowest = min(texts, key=style.width).split(" ")
    while len(narrowest) > 1 and style.width(" ".join(narrowest)) > columns:
        del narrowest[0]
    return " ".join(narrowest).capitalize()


def add_title(rng: RandomChoices, layout: TextLayout, text: str, align: float = 0.0) -> None:
    """Add a title in a larger bold font, and the question for it."""
    style = layout.look.bold(rng.between(1.3, 1.7), rng.one((layout.look.ink, layout.look.accent)))
    layout.lines(text, style, align=align)
    layout.add_question("What is the title?", text)
