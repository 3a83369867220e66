"""Documents: pages with text to read, with a transcription that states all of it.

In: a seed and an index. Out: an image and its transcription, and questions with answers that are on the page; document i is
a pure function of (seed, i) and of the options. Nine kinds: article, letter, invoice, receipt, form, table, list, slide, and
sign (also a few lines cut out of a text). Sizes are native: the longer side is drawn from `longest`, the shape belongs to
the kind. Fonts are of ten pixels or more, so the text is readable at this size; in a smaller copy it may not be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from genlip.synthetic import vocabulary as words
from genlip.synthetic.fonts import Family, families
from genlip.synthetic.page import RGB, Page, Stroke, Style, paint
from genlip.synthetic.random_choices import LONGEST, Lots, chosen_kind, page_size
from genlip.synthetic.text_layout import Column, Look, Sheet, Span, mixed, wrapped

__all__ = ["KINDS", "LONGEST", "Document", "describe", "document", "draw", "questions"]

SHORTEST = 160  # no side is shorter, in pixels
TEXT_SIZES = (10, 30)  # running text, in pixels
PAPERS: tuple[RGB, ...] = (
    (255, 255, 255),
    (253, 251, 244),
    (246, 246, 243),
    (250, 244, 230),
    (242, 247, 252),
    (244, 250, 242),
)
INKS: tuple[RGB, ...] = ((0, 0, 0), (25, 25, 30), (45, 45, 45), (20, 25, 70), (60, 35, 20))
ACCENTS: tuple[RGB, ...] = ((25, 70, 150), (150, 30, 35), (20, 105, 75), (110, 50, 130), (170, 80, 10), (50, 60, 75))
PENS: tuple[RGB, ...] = ((20, 40, 150), (30, 30, 30), (90, 20, 110))  # what forms are filled with
FULL = ("slide", "sign")  # kinds that take their whole page; others may be cut below their last line
ITEMS = {
    "Name": lambda lots: words.person(lots).name,
    "Street": words.street,
    "Town": words.town,
    "Date": words.date,
    "Company": words.business,
    "Subject": words.subject,
    "Phone": lambda lots: f"{lots.whole(10, 99):03} {lots.whole(100, 999)} {lots.whole(1000, 9999)}",
    "Number": lambda lots: f"{words.subject(lots)[0]}-{lots.whole(1000, 99999)}",
    "Starts at": words.time,
    "Guests": lambda lots: str(lots.whole(1, 40)),
    # No dollars: fields may be italic, and Computer Modern's italic dollar is a pound.
    "Amount": lambda lots: words.money(lots.whole(500, 99999), lots.one(words.CURRENCIES[1:])),
    "Contact": lambda lots: words.person(lots).name,
}
CHOICES = {
    "Delivery": ("By post", "By courier", "Collect in shop"),
    "Payment": ("Card", "Cash", "Bank transfer"),
    "Meals": ("Breakfast", "Lunch", "Dinner"),
    "Language": ("English", "French", "German", "Spanish"),
    "Days": ("Monday", "Tuesday", "Thursday", "Saturday"),
    "Size": ("Small", "Medium", "Large"),
    "Newsletter": ("Weekly", "Monthly", "Never"),
}
# What tables are about: the headings, with how a cell is made and whether numbers are flush right.
TABLES: tuple[tuple[tuple[str, Callable[[Lots], str], bool], ...], ...] = (
    (
        ("Name", lambda lots: words.person(lots).name, False),
        ("Room", lambda lots: str(lots.whole(100, 499)), True),
        ("Day", lambda lots: lots.one(words.WEEKDAYS), False),
        ("Town", words.town, False),
    ),
    (
        ("Item", words.product, False),
        ("Price", lambda lots: words.money(lots.whole(90, 48000)), True),
        ("Stock", lambda lots: str(lots.whole(0, 950)), True),
        ("Shelf", lambda lots: f"{lots.one('ABCDEF')}{lots.whole(1, 30)}", False),
    ),
    (
        ("Town", words.town, False),
        ("Leaves", words.time, True),
        ("Track", lambda lots: str(lots.whole(1, 24)), True),
        ("Ticket", lambda lots: words.money(lots.whole(200, 9000)), True),
        ("Train", lambda lots: f"{lots.one(('IC', 'RE', 'S'))} {lots.whole(1, 999)}", False),
    ),
    (
        ("Team", words.town, False),
        ("Played", lambda lots: str(lots.whole(10, 30)), True),
        ("Points", lambda lots: str(lots.whole(3, 90)), True),
        ("Coach", lambda lots: words.person(lots).family, False),
    ),
)


class Document(NamedTuple):
    """What a document holds, before it is drawn."""

    kind: str
    page: Page
    asked: tuple[tuple[str, str], ...]


class Format(NamedTuple):
    """How documents of a kind are made: its shapes (width / height), how many letters make a line, and what fills it."""

    shapes: tuple[float, ...]
    letters: tuple[int, int]
    fill: Callable[[Lots, Sheet], None]


def document(
    seed: int, index: int, longest: tuple[int, int] = LONGEST, kind: str | None = None, system_fonts: bool = False
) -> Document:
    """Draw the lots of document `index`, of one `kind` if named.

    `system_fonts` adds installed fonts: document i then depends on the machine.
    """
    lots = Lots(seed, index)
    kind = chosen_kind(lots, KINDS, kind)
    size = page_size(lots, longest, KINDS[kind].shapes, SHORTEST)
    margin = max(8, round(min(size) * lots.between(0.03, 0.08)))
    sheet = Sheet(size, margin, _look(lots, lots.one(families(system_fonts)), size[0] - 2 * margin, KINDS[kind].letters))
    KINDS[kind].fill(lots, sheet)
    if kind == "receipt" or (kind not in FULL and lots.chance(0.4)):
        sheet.cut(SHORTEST)
    return Document(kind, sheet.page(), tuple(sheet.asked))


def draw(content: Document) -> Image.Image:
    """The image, RGB."""
    return paint(content.page)


def describe(content: Document) -> str:
    """The transcription, in reading order: lines of a paragraph joined, `label: value`, `cell | cell`, `[x] ticked`."""
    return "".join(text.before + text.text for text in content.page.texts).lstrip("\n")


def questions(content: Document) -> tuple[tuple[str, str], ...]:
    """Questions and their answers: a piece of the transcription, or yes or no."""
    return content.asked


def _look(lots: Lots, family: Family, columns: int, letters: tuple[int, int]) -> Look:
    smallest, largest = TEXT_SIZES
    size = columns / (lots.between(*letters) * 0.55)  # letters are about so wide, over their size
    return Look(
        family=family,
        size=round(min(max(size, smallest, family.smallest), largest)),
        ink=lots.one(INKS),
        accent=lots.one(ACCENTS),
        paper=lots.one(PAPERS) if lots.chance(0.6) else PAPERS[0],
        leading=lots.between(1.05, 1.4),
    )


def _title(lots: Lots, sheet: Sheet, text: str, align: float = 0.0) -> None:
    style = sheet.look.bold(lots.between(1.3, 1.7), lots.one((sheet.look.ink, sheet.look.accent)))
    sheet.lines(text, style, align=align)
    sheet.ask("What is the title?", text)


# -- articles and letters


def _article(lots: Lots, sheet: Sheet) -> None:
    centred = 0.5 if lots.chance(0.3) else 0.0
    _title(lots, sheet, words.title(lots), centred)
    if lots.chance(0.5):
        author, date = words.person(lots).name, words.date(lots)
        sheet.line(f"By {author}", sheet.look.italic, align=centred)
        sheet.line(date, sheet.look.italic, align=centred)
        sheet.ask("Who wrote the article?", author)
        sheet.ask("What is the date of the article?", date)
    sheet.gap(0.4)
    if lots.chance(0.4):
        sheet.rule(sheet.look.accent)
    _sections(lots, sheet)


def _sections(lots: Lots, sheet: Sheet) -> None:
    """Headings and paragraphs, in one column or in two."""
    numbered, top, whole = lots.chance(0.3), sheet.y, sheet.span
    between = 2 * sheet.look.size
    half = (whole.width - between) // 2
    two = half >= 22 * sheet.look.size * 0.55 and lots.chance(0.6)
    spans = (Span(whole.left, whole.left + half), Span(whole.right - half, whole.right)) if two else (whole,)
    number, used = 0, {""}
    for span in spans:
        sheet.span, sheet.y = span, top
        style = sheet.look.bold(1.12)
        while sheet.room(style, *[sheet.look.body] * 4) and number < 6:
            number += 1
            _section(lots, sheet, style, number, numbered, used)
            sheet.gap(0.5)


def _section(lots: Lots, sheet: Sheet, style: Style, number: int, numbered: bool, used: set[str]) -> None:
    text = _distinct(lots, words.heading, 1, used)[0]
    shown = f"{number}. {text}" if numbered else text
    sheet.lines(shown, style)
    for _ in range(lots.whole(1, 2)):
        sheet.paragraph(lambda: words.sentence(lots), lots.whole(1, 4), sheet.look.body)
        sheet.gap(0.25)
    sheet.ask(f"What is the heading of section {number}?", text)


def _letter(lots: Lots, sheet: Sheet) -> None:
    sender, reader = words.person(lots), words.person(lots)
    town, date = words.town(lots), words.date(lots)
    align = 1.0 if lots.chance(0.5) else 0.0
    for text in (sender.name, words.street(lots), town):
        sheet.line(text, sheet.look.body, align=align)
    sheet.gap(0.5)
    sheet.line(date, sheet.look.body, align=align)
    sheet.gap(0.5)
    if lots.chance(0.4):
        subject = words.subject(lots)
        sheet.line(f"Subject: {subject}", sheet.look.bold())
        sheet.ask("What is the subject of the letter?", subject)
        sheet.gap(0.5)
    sheet.line(f"Dear {reader.given},", sheet.look.body)
    _letter_body(lots, sheet)
    sheet.line(lots.one(("Yours sincerely,", "Kind regards,", "With best wishes,", "Yours truly,")), sheet.look.body)
    sheet.line(sender.name, sheet.look.italic)
    sheet.ask("Who wrote the letter?", sender.name)
    sheet.ask("To whom is the letter addressed?", reader.given)
    sheet.ask("What is the date of the letter?", date)
    sheet.ask("In which town does the sender live?", town)


def _letter_body(lots: Lots, sheet: Sheet) -> None:
    end, body = sheet.bottom, sheet.look.body
    sheet.bottom -= 3 * sheet.step(body)  # the closing
    for _ in range(lots.whole(1, 4)):
        sheet.gap(0.4)
        sheet.paragraph(lambda: words.letter_sentence(lots), lots.whole(1, 3), body)
    sheet.bottom = end
    sheet.gap(0.4)


# -- invoices and receipts


def _invoice(lots: Lots, sheet: Sheet) -> None:
    look, customer, number = sheet.look, words.person(lots).name, f"{lots.whole(100, 99999)}"
    seller, date, currency = words.business(lots), words.date(lots), lots.one(words.CURRENCIES)
    sheet.lines(seller, look.bold(1.4, look.accent))
    sheet.line(f"Invoice {number}", look.bold())
    sheet.line(f"Date: {date}", look.body)
    sheet.line(f"To: {customer}", look.body)
    sheet.gap(0.6)
    total = _goods(lots, sheet, currency)
    if sheet.room(look.body, look.body) and lots.chance(0.7):
        sheet.gap(0.5)
        days = lots.one((7, 10, 14, 30, 60))
        sheet.line(f"Payable within {days} days.", look.italic)
        sheet.ask("Within how many days is the invoice payable?", str(days))
    sheet.ask("What is the total of the invoice?", total)
    sheet.ask("Who issued the invoice?", seller)
    sheet.ask("What is the number of the invoice?", number)
    sheet.ask("What is the date of the invoice?", date)
    sheet.ask("Who is the customer?", customer)


def _goods(lots: Lots, sheet: Sheet, currency: str) -> str:
    """The table of an invoice and what it adds up to."""
    fits = (sheet.bottom - sheet.y) // sheet.row - 1  # without the headings
    fits -= math.ceil(4 * sheet.step(sheet.look.bold(1.1)) / sheet.row)  # without the sums
    count = max(1, min(fits, lots.whole(1, 9)))
    counts = [lots.whole(1, 12) for _ in range(count)]
    prices = [_price(lots) for _ in range(count)]
    amounts = [number * price for number, price in zip(counts, prices, strict=True)]
    columns = [
        Column(("Qty", *map(str, counts)), True),
        Column(("Price", *map(words.money, prices)), True),
        Column(("Amount", *map(words.money, amounts)), True),
    ]
    if sheet.needs(columns) + 9 * sheet.look.size > sheet.span.width:
        del columns[1]
    room = sheet.span.width - sheet.needs(columns) - 2 * sheet.inset
    names = _distinct(lots, lambda lots: _fitting(lots, words.product, sheet.look.body, room), count)
    sheet.table([Column(("Item", *names)), *columns], lots.chance(0.5), lots.chance(0.4), lots.chance(0.5))
    sheet.ask(f"What is the amount for {names[0]}?", words.money(amounts[0]))
    sheet.gap(0.3)
    return _sums(lots, sheet, sum(amounts), currency)


def _sums(lots: Lots, sheet: Sheet, cents: int, currency: str) -> str:
    """Subtotal, tax and total, or the total alone, which is returned."""
    tax = 0
    if lots.chance(0.6):
        percent = lots.one((5, 7, 8, 10, 19, 20, 25))
        tax = round(cents * percent / 100)
        sheet.pair("Subtotal", words.money(cents), sheet.look.body)
        sheet.pair(f"Tax {percent}%", words.money(tax), sheet.look.body)
        sheet.ask("How much is the tax?", words.money(tax))
    total = words.money(cents + tax, currency)
    sheet.pair("Total", total, sheet.look.bold(1.1))
    return total


def _price(lots: Lots, low: int = 200, high: int = 30000) -> int:
    """In cents; small prices are the most frequent."""
    return round(math.exp(lots.between(math.log(low), math.log(high))) / 5) * 5


def _receipt(lots: Lots, sheet: Sheet) -> None:
    look, shop, date = sheet.look, words.business(lots), words.date(lots)
    sheet.lines(shop, look.bold(1.25), align=0.5)
    if sheet.room(*[look.body] * 14):
        sheet.lines(words.street(lots), look.body, align=0.5)
    sheet.line(date, look.body, align=0.5)
    sheet.gap(0.3)
    sheet.rule(look.ink)
    end = sheet.bottom
    sheet.bottom -= 5 * sheet.step(look.bold(1.1)) + 2 * look.size
    cents, bought = 0, {""}
    for _ in range(lots.whole(2, 14)):
        if sheet.room(look.body):
            cents += _bought(lots, sheet, bought)
    sheet.bottom = end
    sheet.rule(look.ink)
    total = _sums(lots, sheet, cents, lots.one(words.CURRENCIES))
    paid = lots.one(("card", "cash", "voucher"))
    sheet.line(f"Paid by {paid}", look.body)
    if sheet.room(look.body) and lots.chance(0.7):
        sheet.line("Thank you!", look.body, align=0.5)
    for question, answer in (("What is the total?", total), ("Which shop is it?", shop), ("What is the date?", date)):
        sheet.ask(question, answer)
    sheet.ask("How was it paid?", paid)


def _bought(lots: Lots, sheet: Sheet, bought: set[str]) -> int:
    """A line of a receipt, and what it costs."""
    food, count = lots.chance(0.7), lots.whole(1, 3)
    make, cents = (words.grocery, _price(lots, 40, 900)) if food else (words.product, _price(lots, 300, 9000))
    price = words.money(cents * count)
    before = f"{count} x " if count > 1 else ""
    body = sheet.look.body
    room = sheet.span.width - body.width(price) - body.width(before) - body.size
    name = _distinct(lots, lambda lots: before + _fitting(lots, make, body, room), 1, bought)[0]
    sheet.pair(name, price, body)
    if len(bought) == 2:  # the first
        sheet.ask(f"What is the price of {name}?", price)
    return cents * count


# -- forms


def _form(lots: Lots, sheet: Sheet) -> None:
    _title(lots, sheet, f"{words.subject(lots)} {lots.one(('form', 'request', 'card', 'registration'))}")
    sheet.gap(0.4)
    pen = Style(lots.one((sheet.look.family.italic, sheet.look.family.regular)), sheet.look.size, lots.one(PENS))
    boxed, colon = lots.chance(0.5), lots.chance(0.5)
    choices = lots.some(tuple(CHOICES), lots.whole(1, 2))
    for label in lots.some(tuple(ITEMS), lots.whole(3, 9)):
        if sheet.room(*[sheet.look.body] * 9):
            field = _boxed_field if boxed else _ruled_field
            value = field(lots, sheet, label, pen, colon)
            sheet.ask(f"What is filled in under {label}?", value)
    for label in choices:
        if sheet.room(*[sheet.look.body] * 6):
            _choice(lots, sheet, label, pen)


def _boxed_field(lots: Lots, sheet: Sheet, label: str, pen: Style, colon: bool) -> str:
    """A label above a box with the value."""
    value = _fitting(lots, ITEMS[label], pen, sheet.span.width - sheet.look.size)
    sheet.line(f"{label}:" if colon else label, sheet.look.body)
    height, inset = pen.height + 6, sheet.look.size // 2
    sheet.box(sheet.span, height, outline=mixed(sheet.look.paper, sheet.look.ink, 0.6))
    sheet.y += 3
    sheet.place(value, pen, Span(sheet.span.left + inset, sheet.span.right), " " if colon else ": ")
    sheet.y += height - 3 + sheet.look.size // 2
    return value


def _ruled_field(lots: Lots, sheet: Sheet, label: str, pen: Style, colon: bool) -> str:
    """A label, and the value on a line after it."""
    shown = f"{label}:" if colon else label
    left = sheet.span.left + max(sheet.look.body.width(label) for label in ITEMS) + sheet.look.size
    span = Span(left, sheet.span.right)
    value = _fitting(lots, ITEMS[label], pen, span.width - 4)
    sheet.place(shown, sheet.look.body, sheet.span)
    sheet.place(value, pen, Span(left + 4, span.right), " " if colon else ": ", beside=sheet.look.body)
    sheet.y += sheet.look.body.above + pen.below + 2
    sheet.box(span, 1, fill=mixed(sheet.look.paper, sheet.look.ink, 0.5))
    sheet.y += max(3, sheet.step(pen) - pen.height + sheet.look.size // 3)
    return value


def _choice(lots: Lots, sheet: Sheet, label: str, pen: Style) -> None:
    """A label and its check boxes, one or more of them ticked."""
    options = CHOICES[label]
    ticked = set(lots.some(options, 1 if lots.chance(0.7) else 2))
    crossed = lots.chance(0.5)
    sheet.gap(0.2)
    sheet.line(label, sheet.look.bold())
    for option in options:
        if sheet.room(sheet.look.body):
            _check_box(sheet, option, pen, option in ticked, crossed)
            sheet.ask(f"Is the box {option} ticked?", "yes" if option in ticked else "no")
        elif option in ticked:
            ticked.remove(option)
    if len(ticked) == 1:
        sheet.ask(f"Which box is ticked under {label}?", *ticked)


def _check_box(sheet: Sheet, option: str, pen: Style, ticked: bool, crossed: bool) -> None:
    side, style = max(8, round(0.85 * sheet.look.size)), sheet.look.body
    top = sheet.y + style.above - side
    sheet.y, y = top, sheet.y
    sheet.box(Span(sheet.span.left, sheet.span.left + side), side, outline=sheet.look.ink)
    sheet.y = y
    if ticked:
        sheet.marks.extend(_tick(sheet.span.left, top, side, pen.ink, crossed))
    text = Span(sheet.span.left + side + sheet.look.size // 2, sheet.span.right)
    sheet.place(option, style, text, "\n[x] " if ticked else "\n[ ] ")
    sheet.y += max(sheet.step(style), side + 4)


def _tick(left: int, top: int, side: int, ink: RGB, crossed: bool) -> list[Stroke]:
    """A cross or a check mark inside a box."""

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * side, top + y * side

    thick = max(1.5, side / 8)
    if crossed:
        return [
            Stroke((at(0.22, 0.22), at(0.78, 0.78)), ink, thick),
            Stroke((at(0.78, 0.22), at(0.22, 0.78)), ink, thick),
        ]
    return [Stroke((at(0.2, 0.5), at(0.42, 0.75), at(0.82, 0.2)), ink, thick)]


# -- tables, lists, slides and signs


def _table(lots: Lots, sheet: Sheet) -> None:
    _title(lots, sheet, f"{words.subject(lots)}, {words.date(lots)}")
    sheet.gap(0.4)
    kinds = lots.one(TABLES)
    rows = max(1, min((sheet.bottom - sheet.y - 1) // sheet.row - 1, lots.whole(3, 12)))
    (first, key, _), *others = kinds
    names = _distinct(lots, key, rows)
    columns = [Column((first, *names))]
    for heading, make, flush_right in lots.some(others, len(others)):
        column = Column((heading, *(make(lots) for _ in range(rows))), flush_right)
        if sheet.needs([*columns, column]) <= sheet.span.width:
            columns.append(column)
    sheet.table(columns, lots.chance(0.5), lots.chance(0.5), lots.chance(0.5))
    for column in columns[1:]:
        row = lots.whole(1, rows)
        sheet.ask(f"In the row {names[row - 1]}, what is under {column.cells[0]}?", column.cells[row])


def _list(lots: Lots, sheet: Sheet) -> None:
    _title(lots, sheet, words.title(lots))
    sheet.gap(0.4)
    _items(lots, sheet, lots.whole(3, 12))


def _items(lots: Lots, sheet: Sheet, count: int) -> None:
    """Items with bullets or numbers, those that fit."""
    numbered, whole, body = lots.chance(0.5), sheet.span, sheet.look.body
    indent = body.width("10. ") if numbered else round(1.2 * body.size)
    hanging = Span(whole.left + indent, whole.right)
    used = {""}
    for number in range(1, count + 1):
        text = _distinct(lots, words.bullet, 1, used)[0]
        if not sheet.room(*[body] * len(wrapped(text, body, hanging.width))):
            break
        if numbered:
            sheet.place(f"{number}.", body, whole)
        else:
            _bullet(sheet)
        sheet.span = hanging
        sheet.lines(text, body, " " if numbered else "\n- ")
        sheet.span = whole
        sheet.gap(0.25)
        sheet.ask(f"What is item {number}?", text)


def _bullet(sheet: Sheet) -> None:
    """A small square, for not every font has a bullet."""
    side, y = max(3, sheet.look.size // 4), sheet.y
    left = sheet.span.left + side
    sheet.y += sheet.look.body.above - sheet.look.size // 3 - side // 2
    sheet.box(Span(left, left + side), side, fill=sheet.look.accent)
    sheet.y = y


def _slide(lots: Lots, sheet: Sheet) -> None:
    if lots.chance(0.3):  # light on dark
        dark = mixed(sheet.look.accent, (0, 0, 0), 0.5)
        sheet.look = sheet.look._replace(paper=dark, ink=(245, 245, 245), accent=(255, 205, 110))
    look, text = sheet.look, words.title(lots)
    banner = lots.chance(0.5)
    style = look.bold(lots.between(1.3, 1.6), look.paper if banner else look.accent)
    if banner:
        rows = len(wrapped(text, style, sheet.span.width)) * sheet.step(style)
        whole, sheet.y = sheet.y, 0
        sheet.box(Span(0, sheet.size[0]), whole + rows + look.size // 3, fill=look.accent)
        sheet.y = whole
    sheet.lines(text, style)
    sheet.ask("What is the title?", text)
    sheet.gap(0.7)
    speaker, number, end = words.person(lots).name, lots.whole(2, 60), sheet.bottom
    small = look.body._replace(size=max(look.family.smallest, round(0.8 * look.size)))
    sheet.bottom -= sheet.step(small) + look.size // 2
    _items(lots, sheet, lots.whole(2, 6))
    sheet.bottom, sheet.y = end, end - small.height
    sheet.pair(speaker, str(number), small, before="\n")
    sheet.ask("What is the number of the slide?", str(number))
    sheet.ask("Who is the speaker?", speaker)


def _sign(lots: Lots, sheet: Sheet) -> None:
    if lots.chance(0.5) and sheet.paragraph(lambda: words.sentence(lots), 6, sheet.look.body):
        return
    text, accent = words.notice(lots), sheet.look.accent
    if lots.chance(0.5):
        sheet.look = sheet.look._replace(paper=accent, ink=(255, 255, 255), accent=(255, 255, 255))
    edge = sheet.size[0] // 90 + 1
    style = _largest(sheet, text)
    sheet.y = 4
    sheet.box(Span(4, sheet.size[0] - 4), sheet.size[1] - 8, outline=sheet.look.accent, thick=edge)
    rows = (len(wrapped(text, style, sheet.span.width)) - 1) * sheet.step(style) + style.height
    sheet.y = (sheet.size[1] - rows) // 2
    sheet.lines(text, style, align=0.5)
    sheet.ask("What does the sign say?", text)


def _largest(sheet: Sheet, text: str) -> Style:
    """The largest style in which a sign holds its text."""
    inset = 8 + sheet.size[0] // 90
    sheet.span = Span(max(sheet.span.left, inset), min(sheet.span.right, sheet.size[0] - inset))
    for size in range(sheet.size[1] // 3, sheet.look.size, -2):
        style = sheet.look.bold()._replace(size=size)
        lines = wrapped(text, style, sheet.span.width)
        high, wide = len(lines) * sheet.step(style), max(map(style.width, lines))
        if high + style.height // 2 <= sheet.size[1] - 2 * inset and wide <= sheet.span.width:
            return style
    return sheet.look.bold()


def _fitting(lots: Lots, make: Callable[[Lots], str], style: Style, columns: int) -> str:
    """A text that is not wider than `columns`: the first of a dozen that fits, or else the end of the narrowest."""
    texts = []
    for _ in range(12):
        texts.append(make(lots))
        if style.width(texts[-1]) <= columns:
            return texts[-1]
    narrowest = min(texts, key=style.width).split(" ")
    while len(narrowest) > 1 and style.width(" ".join(narrowest)) > columns:
        del narrowest[0]
    return " ".join(narrowest).capitalize()


def _distinct(lots: Lots, make: Callable[[Lots], str], count: int, used: set[str] | None = None) -> list[str]:
    """`count` texts that differ from each other and from those `used`, to which they are added; a few tries for each."""
    used, texts = set() if used is None else used, []
    for _ in range(count):
        text = make(lots)
        for _ in range(20):
            if text not in used:
                break
            text = make(lots)
        used.add(text)
        texts.append(text)
    return texts


KINDS = {
    "article": Format((0.707, 0.773, 1.0, 1.41), (34, 80), _article),
    "letter": Format((0.707, 0.773), (34, 60), _letter),
    "invoice": Format((0.707, 0.773, 1.0), (34, 65), _invoice),
    "receipt": Format((0.36, 0.45, 0.6), (22, 34), _receipt),
    "form": Format((0.707, 0.85, 1.0), (30, 50), _form),
    "table": Format((0.8, 1.2, 1.6), (34, 60), _table),
    "list": Format((0.6, 0.75, 1.2), (24, 46), _list),
    "slide": Format((1.33, 1.78), (24, 42), _slide),
    "sign": Format((1.2, 2.0, 3.2), (24, 46), _sign),
}
