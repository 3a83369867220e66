"""Report: the pieces of one HTML page that needs nothing but itself: no scripts, no fonts, no files beside it.

In: figures, curves, histograms, tables, captions and patch readouts. Out: fragments of HTML, and the page that holds them.
Every function escapes whatever it is given and returns markup; only `Section.body` takes markup. Stored results and logs may
be another's, so what should be a number passes `escape` or a format of numbers, too, and the page forbids scripts. Colours
are custom properties of the page, in charts too, so that everything follows the reader's light or dark mode.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape as escape_text
from importlib.resources import files
from typing import NamedTuple

from genlip.data.images import ImageLike, decode, reduced
from genlip.terminal import harmless

__all__ = [
    "Headline",
    "Section",
    "Thumbnail",
    "advice",
    "commands",
    "contact_sheet",
    "escape",
    "facts",
    "folded",
    "headlines",
    "inline_image",
    "page",
    "paragraphs",
    "side_by_side",
    "strip",
    "table",
]


class Section(NamedTuple):
    """A part of the page: a title, and markup that the functions below made."""

    title: str
    body: str


class Headline(NamedTuple):
    """A figure that is read first, what it is, and what it means."""

    value: str
    label: str
    note: str = ""


class Thumbnail(NamedTuple):
    """A small image, the text below it, and a quiet line about it."""

    image: ImageLike
    text: str
    note: str = ""


def page(title: str, sections: Iterable[Section]) -> str:
    """The whole page. Captions and names of files stand in it as a terminal shows them, see `harmless`."""
    parts = "\n".join(f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" for title, body in sections)
    style = files("genlip.report").joinpath("style.css").read_text(encoding="utf8")
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{parts}\n</main>\n</body>\n</html>\n"
    )
    return harmless(html.replace("\r\n", "\n").replace("\r", "\n"))  # as browsers read it


# Pictures and styles of the page itself; no scripts, and nothing from elsewhere.
_ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def escape(value: object) -> str:
    """Any value as text that HTML shows as it stands, within quotes, too."""
    return escape_text(str(value))


def paragraphs(*texts: str) -> str:
    """Plain sentences."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def headlines(figures: Iterable[Headline]) -> str:
    """Figures as tiles; the first stands out."""
    tiles = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(label)}</span><small>{escape(note)}</small></div>"
        for value, label, note in figures
    )
    return f'<div class="headlines">{tiles}</div>'


def facts(rows: Mapping[str, object]) -> str:
    """A table of names and values."""
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f'<table class="facts">{lines}</table>'


def table(head: Sequence[str], rows: Iterable[Sequence[str | Sequence[str]]]) -> str:
    """A table under a head; a cell of several texts shows them below each other. Wide ones scroll on their own."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_stacked(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def advice(texts: Iterable[str]) -> str:
    """What looks wrong, and what to change; nothing where there is nothing to say."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="advice">{items}</ul>' if items else ""


def commands(lines: Mapping[str, str]) -> str:
    """What to type next: command lines and what each does."""
    items = (f"<dt>{escape(what)}</dt><dd><code>{escape(line)}</code></dd>" for line, what in lines.items())
    return f'<dl class="commands">{"".join(items)}</dl>'


def folded(summary: str, text: str) -> str:
    """Text as it stands, unfolded by a click on its summary."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def side_by_side(*fragments: str) -> str:
    """Fragments in columns; on a narrow screen below each other."""
    return f'<div class="columns">{"".join(fragments)}</div>'


def contact_sheet(thumbnails: Iterable[Thumbnail]) -> str:
    """Small images beside each other; a long text is cut, and shown whole when pointed at."""
    return f'<div class="sheet">{"".join(map(_thumbnail, thumbnails))}</div>'


def strip(pictures: Sequence[ImageLike], text: str, note: str = "", side: int = 240) -> str:
    """Pictures of one shape in one row, however narrow the screen, each shown at up to `side` pixels; a text below them."""
    images = "".join(inline_image(picture, side) for picture in pictures)
    words = f"<p>{escape(text)}</p><small>{escape(note)}</small>"
    return f'<figure class="strip" style="--side:{side}px"><div>{images}</div><figcaption>{words}</figcaption></figure>'


def _stacked(cell: str | Sequence[str]) -> str:
    return escape(cell) if isinstance(cell, str) else "".join(f"<div>{escape(text)}</div>" for text in cell)


_CLIPPED = 160  # characters of a text under a thumbnail


def _thumbnail(one: Thumbnail) -> str:
    text = str(one.text)
    text = text if len(text) <= _CLIPPED else f"{text[:_CLIPPED].rstrip()}…"
    return (
        f'<figure title="{escape(one.text)}"><div>{inline_image(one.image, 200)}</div>'
        f"<figcaption><p>{escape(text)}</p><small>{escape(one.note)}</small></figcaption></figure>"
    )


def inline_image(image: ImageLike, side: int) -> str:
    """An <img> that holds its image as PNG, shown at up to `side` pixels; small images keep their pixels sharp."""
    image, file = reduced(decode(image), 2 * side), io.BytesIO()  # twice: screens may show two pixels for one
    image.save(file, "PNG", optimize=True)
    sharp = ' class="pixels"' if max(image.size) < side else ""
    return f'<img{sharp} alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'
