"""Documents of fields and amounts: invoice, receipt, form and table.

In: random choices and an empty `TextLayout`. Out: the layout, filled, with questions that the page answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from genlip.synthetic import vocabulary as words
from genlip.synthetic.page import RGB, Stroke, Style
from genlip.synthetic.random_choices import RandomChoices, distinct
from genlip.synthetic.text_layout import Column, Span, TextLayout, add_title, fitting, mixed

__all__ = ["form", "invoice", "receipt", "table"]

PENS: tuple[RGB, ...] = ((20, 40, 150), (30, 30, 30), (90, 20, 110))  # what forms are filled with
ITEMS = {
    "Name": lambda rng: words.person(rng).name,
    "Street": words.street,
    "Town": words.town,
    "Date": words.date,
    "Company": words.business,
    "Subject": words.subject,
    "Phone": lambda rng: f"{rng.whole(10, 99):03} {rng.whole(100, 999)} {rng.whole(1000, 9999)}",
    "Number": lambda rng: f"{words.subject(rng)[0]}-{rng.whole(1000, 99999)}",
    "Starts at": words.time,
    "Guests": lambda rng: str(rng.whole(1, 40)),
    # No dollars: fields may be italic, and Computer Modern's italic dollar is a pound.
    "Amount": lambda rng: words.money(rng.whole(500, 99999), rng.one(words.CURRENCIES[1:])),
    "Contact": lambda rng: words.person(rng).name,
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
TABLES: tuple[tuple[tuple[str, Callable[[RandomChoices], str], bool], ...], ...] = (
    (
        ("Name", lambda rng: words.person(rng).name, False),
        ("Room", lambda rng: str(rng.whole(100, 499)), True),
        ("Day", lambda rng: rng.one(words.WEEKDAYS), False),
        ("Town", words.town, False),
    ),
    (
        ("Item", words.product, False),
        ("Price", lambda rng: words.money(rng.whole(90, 48000)), True),
        ("Stock", lambda rng: str(rng.whole(0, 950)), True),
        ("Shelf", lambda rng: f"{rng.one('ABCDEF')}{rng.whole(1, 30)}", False),
    ),
    (
        ("Town", words.town, False),
        ("Leaves", words.time, True),
        ("Track", lambda rng: str(rng.whole(1, 24)), True),
        ("Ticket", lambda rng: words.money(rng.whole(200, 9000)), True),
        ("Train", lambda rng: f"{rng.one(('IC', 'RE', 'S'))} {rng.whole(1, 999)}", False),
    ),
    (
        ("Team", words.town, False),
        ("Played", lambda rng: str(rng.whole(10, 30)), True),
        ("Points", lambda rng: str(rng.whole(3, 90)), True),
        ("Coach", lambda rng: words.person(rng).family, False),
    ),
)


# -- invoices and receipts


def invoice(rng: RandomChoices, layout: TextLayout) -> None:
    """An invoice: seller, number, date and customer, a table of goods, and the total."""
    look, customer, number = layout.look, words.person(rng).name, f"{rng.whole(100, 99999)}"
    seller, date, currency = words.business(rng), words.date(rng), rng.one(words.CURRENCIES)
    layout.lines(seller, look.bold(1.4, look.accent))
    layout.line(f"Invoice {number}", look.bold())
    layout.line(f"Date: {date}", look.body)
    layout.line(f"To: {customer}", look.body)
    layout.gap(0.6)
    total = _goods(rng, layout, currency)
    if layout.room(look.body, look.body) and rng.chance(0.7):
        layout.gap(0.5)
        days = rng.one((7, 10, 14, 30, 60))
        layout.line(f"Payable within {days} days.", look.italic)
        layout.add_question("Within how many days is the invoice payable?", str(days))
    layout.add_question("What is the total of the invoice?", total)
    layout.add_question("Who issued the invoice?", seller)
    layout.add_question("What is the number of the invoice?", number)
    layout.add_question("What is the date of the invoice?", date)
    layout.add_question("Who is the customer?", customer)


def _goods(rng: RandomChoices, layout: TextLayout, currency: str) -> str:
    """The table of an invoice and what it adds up to."""
    fits = (layout.bottom - layout.y) // layout.row - 1  # without the headings
    fits -= math.ceil(4 * layout.step(layout.look.bold(1.1)) / layout.row)  # without the sums
    count = max(1, min(fits, rng.whole(1, 9)))
    counts = [rng.whole(1, 12) for _ in range(count)]
    prices = [_price(rng) for _ in range(count)]
    amounts = [number * price for number, price in zip(counts, prices, strict=True)]
    columns = [
        Column(("Qty", *map(str, counts)), True),
        Column(("Price", *map(words.money, prices)), True),
        Column(("Amount", *map(words.money, amounts)), True),
    ]
    if layout.needs(columns) + 9 * layout.look.size > layout.span.width:
        del columns[1]
    room = layout.span.width - layout.needs(columns) - 2 * layout.inset
    names = distinct(rng, lambda rng: fitting(rng, words.product, layout.look.body, room), count)
    layout.table([Column(("Item", *names)), *columns], rng.chance(0.5), rng.chance(0.4), rng.chance(0.5))
    layout.add_question(f"What is the amount for {names[0]}?", words.money(amounts[0]))
    layout.gap(0.3)
    return _sums(rng, layout, sum(amounts), currency)


def _sums(rng: RandomChoices, layout: TextLayout, cents: int, currency: str) -> str:
    """Subtotal, tax and total, or the total alone, which is returned."""
    tax = 0
    if rng.chance(0.6):
        percent = rng.one((5, 7, 8, 10, 19, 20, 25))
        tax = round(cents * percent / 100)
        layout.pair("Subtotal", words.money(cents), layout.look.body)
        layout.pair(f"Tax {percent}%", words.money(tax), layout.look.body)
        layout.add_question("How much is the tax?", words.money(tax))
    total = words.money(cents + tax, currency)
    layout.pair("Total", total, layout.look.bold(1.1))
    return total


def _price(rng: RandomChoices, low: int = 200, high: int = 30000) -> int:
    """In cents; small prices are the most frequent."""
    return round(math.exp(rng.between(math.log(low), math.log(high))) / 5) * 5


def receipt(rng: RandomChoices, layout: TextLayout) -> None:
    """A receipt: shop and date, a line for each product, and the total."""
    look, shop, date = layout.look, words.business(rng), words.date(rng)
    layout.lines(shop, look.bold(1.25), align=0.5)
    if layout.room(*[look.body] * 14):
        layout.lines(words.street(rng), look.body, align=0.5)
    layout.line(date, look.body, align=0.5)
    layout.gap(0.3)
    layout.rule(look.ink)
    end = layout.bottom
    layout.bottom -= 5 * layout.step(look.bold(1.1)) + 2 * look.size
    cents, bought = 0, {""}
    for _ in range(rng.whole(2, 14)):
        if layout.room(look.body):
            cents += _bought(rng, layout, bought)
    layout.bottom = end
    layout.rule(look.ink)
    total = _sums(rng, layout, cents, rng.one(words.CURRENCIES))
    paid = rng.one(("card", "cash", "voucher"))
    layout.line(f"Paid by {paid}", look.body)
    if layout.room(look.body) and rng.chance(0.7):
        layout.line("Thank you!", look.body, align=0.5)
    for question, answer in (("What is the total?", total), ("Which shop is it?", shop), ("What is the date?", date)):
        layout.add_question(question, answer)
    layout.add_question("How was it paid?", paid)


def _bought(rng: RandomChoices, layout: TextLayout, bought: set[str]) -> int:
    """A line of a receipt, and what it costs."""
    food, count = rng.chance(0.7), rng.whole(1, 3)
    make, cents = (words.grocery, _price(rng, 40, 900)) if food else (words.product, _price(rng, 300, 9000))
    price = words.money(cents * count)
    before = f"{count} x " if count > 1 else ""
    body = layout.look.body
    room = layout.span.width - body.width(price) - body.width(before) - body.size
    name = distinct(rng, lambda rng: before + fitting(rng, make, body, room), 1, bought)[0]
    layout.pair(name, price, body)
    if len(bought) == 2:  # the first
        layout.add_question(f"What is the price of {name}?", price)
    return cents * count


# -- forms


def form(rng: RandomChoices, layout: TextLayout) -> None:
    """A form: fields that are filled in, and check boxes."""
    add_title(rng, layout, f"{words.subject(rng)} {rng.one(('form', 'request', 'card', 'registration'))}")
    layout.gap(0.4)
    pen = Style(rng.one((layout.look.family.italic, layout.look.family.regular)), layout.look.size, rng.one(PENS))
    boxed, colon = rng.chance(0.5), rng.chance(0.5)
    choices = rng.some(tuple(CHOICES), rng.whole(1, 2))
    for label in rng.some(tuple(ITEMS), rng.whole(3, 9)):
        if layout.room(*[layout.look.body] * 9):
            field = _boxed_field if boxed else _ruled_field
            value = field(rng, layout, label, pen, colon)
            layout.add_question(f"What is filled in under {label}?", value)
    for label in choices:
        if layout.room(*[layout.look.body] * 6):
            _choice(rng, layout, label, pen)


def _boxed_field(rng: RandomChoices, layout: TextLayout, label: str, pen: Style, colon: bool) -> str:
    """A label above a box with the value."""
    value = fitting(rng, ITEMS[label], pen, layout.span.width - layout.look.size)
    layout.line(f"{label}:" if colon else label, layout.look.body)
    height, inset = pen.height + 6, layout.look.size // 2
    layout.box(layout.span, height, outline=mixed(layout.look.paper, layout.look.ink, 0.6))
    layout.y += 3
    layout.place(value, pen, Span(layout.span.left + inset, layout.span.right), " " if colon else ": ")
    layout.y += height - 3 + layout.look.size // 2
    return value


def _ruled_field(rng: RandomChoices, layout: TextLayout, label: str, pen: Style, colon: bool) -> str:
    """A label, and the value on a line after it."""
    shown = f"{label}:" if colon else label
    left = layout.span.left + max(layout.look.body.width(label) for label in ITEMS) + layout.look.size
    span = Span(left, layout.span.right)
    value = fitting(rng, ITEMS[label], pen, span.width - 4)
    layout.place(shown, layout.look.body, layout.span)
    layout.place(value, pen, Span(left + 4, span.right), " " if colon else ": ", beside=layout.look.body)
    layout.y += layout.look.body.above + pen.below + 2
    layout.box(span, 1, fill=mixed(layout.look.paper, layout.look.ink, 0.5))
    layout.y += max(3, layout.step(pen) - pen.height + layout.look.size // 3)
    return value


def _choice(rng: RandomChoices, layout: TextLayout, label: str, pen: Style) -> None:
    """A label and its check boxes, one or more of them ticked."""
    options = CHOICES[label]
    ticked = set(rng.some(options, 1 if rng.chance(0.7) else 2))
    crossed = rng.chance(0.5)
    layout.gap(0.2)
    layout.line(label, layout.look.bold())
    for option in options:
        if layout.room(layout.look.body):
            _check_box(layout, option, pen, option in ticked, crossed)
            layout.add_question(f"Is the box {option} ticked?", "yes" if option in ticked else "no")
        elif option in ticked:
            ticked.remove(option)
    if len(ticked) == 1:
        layout.add_question(f"Which box is ticked under {label}?", *ticked)


def _check_box(layout: TextLayout, option: str, pen: Style, ticked: bool, crossed: bool) -> None:
    side, style = max(8, round(0.85 * layout.look.size)), layout.look.body
    top = layout.y + style.above - side
    layout.y, y = top, layout.y
    layout.box(Span(layout.span.left, layout.span.left + side), side, outline=layout.look.ink)
    layout.y = y
    if ticked:
        layout.marks.extend(_tick(layout.span.left, top, side, pen.ink, crossed))
    text = Span(layout.span.left + side + layout.look.size // 2, layout.span.right)
    layout.place(option, style, text, "\n[x] " if ticked else "\n[ ] ")
    layout.y += max(layout.step(style), side + 4)


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


# -- tables


def table(rng: RandomChoices, layout: TextLayout) -> None:
    """A table with a title."""
    add_title(rng, layout, f"{words.subject(rng)}, {words.date(rng)}")
    layout.gap(0.4)
    kinds = rng.one(TABLES)
    rows = max(1, min((layout.bottom - layout.y - 1) // layout.row - 1, rng.whole(3, 12)))
    (first, key, _), *others = kinds
    names = distinct(rng, key, rows)
    columns = [Column((first, *names))]
    for heading, make, flush_right in rng.some(others, len(others)):
        column = Column((heading, *(make(rng) for _ in range(rows))), flush_right)
        if layout.needs([*columns, column]) <= layout.span.width:
            columns.append(column)
    layout.table(columns, rng.chance(0.5), rng.chance(0.5), rng.chance(0.5))
    for column in columns[1:]:
        row = rng.whole(1, rows)
        layout.add_question(f"In the row {names[row - 1]}, what is under {column.cells[0]}?", column.cells[row])
