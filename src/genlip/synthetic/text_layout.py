"""Sheets: a page while it is filled from top to bottom, by measured text.

In: a size, a look, then lines, paragraphs, rules and tables. Out: a `Page` whose texts all lie inside it and apart, in
reading order, and the questions that its makers noted. A caller asks `room` first for what may not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from genlip.synthetic.fonts import Family
from genlip.synthetic.page import RGB, Box, Mark, Page, Style, Text

__all__ = ["Column", "Look", "Sheet", "Span", "mixed", "wrapped"]


class Span(NamedTuple):
    """Columns of pixels, from `left` up to `right`."""

    left: int
    right: int

    @property
    def width(self) -> int:
        """How many."""
        return self.right - self.left


class Look(NamedTuple):
    """What the styles of a page have in common. `leading` is the distance of lines over their height."""

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


class Sheet:
    """A page while it is filled: `y` is the top of the next line, `span` the columns it may take."""

    def __init__(self, size: tuple[int, int], margin: int, look: Look) -> None:
        self.size, self.look = size, look
        self.span = Span(margin, size[0] - margin)
        self.y, self.bottom = margin, size[1] - margin
        self.marks: list[Mark] = []
        self.asked: list[tuple[str, str]] = []

    def page(self) -> Page:
        """What has been laid out."""
        return Page(self.size, self.look.paper, tuple(self.marks))

    def cut(self, shortest: int) -> None:
        """Shorten the page to what is on it."""
        below = max(
            mark.at[1] + mark.style.below if isinstance(mark, Text) else mark.corners[3]
            for mark in self.marks
            if isinstance(mark, Text | Box)
        )
        self.size = self.size[0], max(shortest, min(self.size[1], below + self.span.left))

    def ask(self, question: str, answer: str) -> None:
        """Note a question that the page answers."""
        self.asked.append((question, answer))

    def step(self, style: Style) -> int:
        """Rows from one line to the next."""
        return round(style.height * self.look.leading)

    def room(self, *styles: Style) -> bool:
        """Does a line of each fit?"""
        return self.y + sum(self.step(style) for style in styles) <= self.bottom

    def gap(self, lines: float) -> None:
        """Leave so many lines of running text empty."""
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
        """Up to `count` sentences, those that fit; False if not even one does."""
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
        """A table across the sheet. The first column takes what the others leave; the headings may be `filled`."""
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
    """A colour on the way from one to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
