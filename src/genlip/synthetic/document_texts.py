"""Documents of running text: article, letter, list, slide and sign.

In: random choices and an empty `TextLayout`. Out: the layout, filled, with questions that the page answers.
"""

from __future__ import annotations

from genlip.synthetic import vocabulary as words
from genlip.synthetic.page import Style
from genlip.synthetic.random_choices import RandomChoices, distinct
from genlip.synthetic.text_layout import Span, TextLayout, add_title, mixed, wrapped

__all__ = ["article", "letter", "list_page", "sign", "slide"]


# -- articles and letters


def article(rng: RandomChoices, layout: TextLayout) -> None:
    """An article: title, sometimes author and date, and sections in one column or two."""
    centred = 0.5 if rng.chance(0.3) else 0.0
    add_title(rng, layout, words.title(rng), centred)
    if rng.chance(0.5):
        author, date = words.person(rng).name, words.date(rng)
        layout.line(f"By {author}", layout.look.italic, align=centred)
        layout.line(date, layout.look.italic, align=centred)
        layout.add_question("Who wrote the article?", author)
        layout.add_question("What is the date of the article?", date)
    layout.gap(0.4)
    if rng.chance(0.4):
        layout.rule(layout.look.accent)
    _sections(rng, layout)


def _sections(rng: RandomChoices, layout: TextLayout) -> None:
    """Headings and paragraphs, in one column or in two."""
    numbered, top, whole = rng.chance(0.3), layout.y, layout.span
    between = 2 * layout.look.size
    half = (whole.width - between) // 2
    two = half >= 22 * layout.look.size * 0.55 and rng.chance(0.6)
    spans = (Span(whole.left, whole.left + half), Span(whole.right - half, whole.right)) if two else (whole,)
    number, used = 0, {""}
    for span in spans:
        layout.span, layout.y = span, top
        style = layout.look.bold(1.12)
        while layout.room(style, *[layout.look.body] * 4) and number < 6:
            number += 1
            _section(rng, layout, style, number, numbered, used)
            layout.gap(0.5)


def _section(rng: RandomChoices, layout: TextLayout, style: Style, number: int, numbered: bool, used: set[str]) -> None:
    text = distinct(rng, words.heading, 1, used)[0]
    shown = f"{number}. {text}" if numbered else text
    layout.lines(shown, style)
    for _ in range(rng.whole(1, 2)):
        layout.paragraph(lambda: words.sentence(rng), rng.whole(1, 4), layout.look.body)
        layout.gap(0.25)
    layout.add_question(f"What is the heading of section {number}?", text)


def letter(rng: RandomChoices, layout: TextLayout) -> None:
    """A letter: sender, date, sometimes a subject, and a body."""
    sender, reader = words.person(rng), words.person(rng)
    town, date = words.town(rng), words.date(rng)
    align = 1.0 if rng.chance(0.5) else 0.0
    for text in (sender.name, words.street(rng), town):
        layout.line(text, layout.look.body, align=align)
    layout.gap(0.5)
    layout.line(date, layout.look.body, align=align)
    layout.gap(0.5)
    if rng.chance(0.4):
        subject = words.subject(rng)
        layout.line(f"Subject: {subject}", layout.look.bold())
        layout.add_question("What is the subject of the letter?", subject)
        layout.gap(0.5)
    layout.line(f"Dear {reader.given},", layout.look.body)
    _letter_body(rng, layout)
    layout.line(rng.one(("Yours sincerely,", "Kind regards,", "With best wishes,", "Yours truly,")), layout.look.body)
    layout.line(sender.name, layout.look.italic)
    layout.add_question("Who wrote the letter?", sender.name)
    layout.add_question("To whom is the letter addressed?", reader.given)
    layout.add_question("What is the date of the letter?", date)
    layout.add_question("In which town does the sender live?", town)


def _letter_body(rng: RandomChoices, layout: TextLayout) -> None:
    end, body = layout.bottom, layout.look.body
    layout.bottom -= 3 * layout.step(body)  # the closing
    for _ in range(rng.whole(1, 4)):
        layout.gap(0.4)
        layout.paragraph(lambda: words.letter_sentence(rng), rng.whole(1, 3), body)
    layout.bottom = end
    layout.gap(0.4)


# -- lists, slides and signs


def list_page(rng: RandomChoices, layout: TextLayout) -> None:
    """A title and 3 to 12 items, as many as fit."""
    add_title(rng, layout, words.title(rng))
    layout.gap(0.4)
    _items(rng, layout, rng.whole(3, 12))


def _items(rng: RandomChoices, layout: TextLayout, count: int) -> None:
    """Up to `count` items with bullets or numbers, as many as fit."""
    numbered, whole, body = rng.chance(0.5), layout.span, layout.look.body
    indent = body.width("10. ") if numbered else round(1.2 * body.size)
    hanging = Span(whole.left + indent, whole.right)
    used = {""}
    for number in range(1, count + 1):
        text = distinct(rng, words.bullet, 1, used)[0]
        if not layout.room(*[body] * len(wrapped(text, body, hanging.width))):
            break
        if numbered:
            layout.place(f"{number}.", body, whole)
        else:
            _bullet(layout)
        layout.span = hanging
        layout.lines(text, body, " " if numbered else "\n- ")
        layout.span = whole
        layout.gap(0.25)
        layout.add_question(f"What is item {number}?", text)


def _bullet(layout: TextLayout) -> None:
    """A small square: some fonts have no bullet."""
    side, y = max(3, layout.look.size // 4), layout.y
    left = layout.span.left + side
    layout.y += layout.look.body.above - layout.look.size // 3 - side // 2
    layout.box(Span(left, left + side), side, fill=layout.look.accent)
    layout.y = y


def slide(rng: RandomChoices, layout: TextLayout) -> None:
    """A slide: title, items, speaker and number."""
    if rng.chance(0.3):  # light on dark
        dark = mixed(layout.look.accent, (0, 0, 0), 0.5)
        layout.look = layout.look._replace(paper=dark, ink=(245, 245, 245), accent=(255, 205, 110))
    look, text = layout.look, words.title(rng)
    banner = rng.chance(0.5)
    style = look.bold(rng.between(1.3, 1.6), look.paper if banner else look.accent)
    if banner:
        rows = len(wrapped(text, style, layout.span.width)) * layout.step(style)
        whole, layout.y = layout.y, 0
        layout.box(Span(0, layout.size[0]), whole + rows + look.size // 3, fill=look.accent)
        layout.y = whole
    layout.lines(text, style)
    layout.add_question("What is the title?", text)
    layout.gap(0.7)
    speaker, number, end = words.person(rng).name, rng.whole(2, 60), layout.bottom
    small = look.body._replace(size=max(look.family.smallest, round(0.8 * look.size)))
    layout.bottom -= layout.step(small) + look.size // 2
    _items(rng, layout, rng.whole(2, 6))
    layout.bottom, layout.y = end, end - small.height
    layout.pair(speaker, str(number), small, before="\n")
    layout.add_question("What is the number of the slide?", str(number))
    layout.add_question("Who is the speaker?", speaker)


def sign(rng: RandomChoices, layout: TextLayout) -> None:
    """A framed notice, or a few lines cut out of a text."""
    if rng.chance(0.5) and layout.paragraph(lambda: words.sentence(rng), 6, layout.look.body):
        return
    text, accent = words.notice(rng), layout.look.accent
    if rng.chance(0.5):
        layout.look = layout.look._replace(paper=accent, ink=(255, 255, 255), accent=(255, 255, 255))
    edge = layout.size[0] // 90 + 1
    style = _largest(layout, text)
    layout.y = 4
    layout.box(Span(4, layout.size[0] - 4), layout.size[1] - 8, outline=layout.look.accent, thick=edge)
    rows = (len(wrapped(text, style, layout.span.width)) - 1) * layout.step(style) + style.height
    layout.y = (layout.size[1] - rows) // 2
    layout.lines(text, style, align=0.5)
    layout.add_question("What does the sign say?", text)


def _largest(layout: TextLayout, text: str) -> Style:
    """The largest style in which the text fits the sign."""
    inset = 8 + layout.size[0] // 90
    layout.span = Span(max(layout.span.left, inset), min(layout.span.right, layout.size[0] - inset))
    for size in range(layout.size[1] // 3, layout.look.size, -2):
        style = layout.look.bold()._replace(size=size)
        lines = wrapped(text, style, layout.span.width)
        high, wide = len(lines) * layout.step(style), max(map(style.width, lines))
        if high + style.height // 2 <= layout.size[1] - 2 * inset and wide <= layout.span.width:
            return style
    return layout.look.bold()
