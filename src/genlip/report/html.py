"""HTML: parts of a self-contained page, without scripts, fonts or files beside it.

In: figures, curves, histograms, tables, captions and patch readouts. Out: fragments of HTML, and the page that holds them.
Every function escapes its inputs and returns markup; only `Section.body` takes markup. Stored results and logs may come from
untrusted sources. So values that should be numbers pass `escape` or a number format, too, and the page forbids scripts.
Colours are custom properties of the page (CSS variables), also in charts, and follow the reader's light or dark mode.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape as escape_text
from importlib.resources import files
from typing import NamedTuple

from PIL import Image

from genlip.data.images import ImageLike, decode, reduced
from genlip.report.formatting import one_line
from genlip.terminal import harmless

__all__ = [
    "Headline",
    "Section",
    "Thumbnail",
    "commands",
    "contact_sheet",
    "details",
    "escape",
    "headlines",
    "image_row",
    "inline_image",
    "key_value_table",
    "page",
    "paragraphs",
    "side_by_side",
    "table",
    "thumbnail",
    "warning_list",
]


class Section(NamedTuple):
    """A section of the page: a title, and markup made by the functions below."""

    title: str
    body: str


class Headline(NamedTuple):
    """A main figure: value, label and a note."""

    value: str
    label: str
    note: str = ""


class Thumbnail(NamedTuple):
    """A small image, the text below it, and a note in grey."""

    image: ImageLike
    text: str
    note: str = ""


def page(title: str, sections: Iterable[Section]) -> str:
    """The whole page. Control characters in captions and names of files are replaced, see `harmless`."""
    parts = "\n".join(f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" for title, body in sections)
    style = files("genlip.report").joinpath("style.css").read_text(encoding="utf8")
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{parts}\n</main>\n</body>\n</html>\n"
    )
    return harmless(html.replace("\r\n", "\n").replace("\r", "\n"))  # browsers read every line end as \n


# Only images and styles inside the page; no scripts, and no other addresses.
_ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def escape(value: object) -> str:
    """Any value as escaped text, also for quoted attributes."""
    return escape_text(str(value))


def paragraphs(*texts: str) -> str:
    """Plain sentences."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def headlines(figures: Iterable[Headline]) -> str:
    """Main figures as tiles; the first is highlighted."""
    tiles = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(label)}</span><small>{escape(note)}</small></div>"
        for value, label, note in figures
    )
    return f'<div class="headlines">{tiles}</div>'


def key_value_table(rows: Mapping[str, object]) -> str:
    """A table of names and values."""
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f'<table class="key-values">{lines}</table>'


def table(head: Sequence[str], rows: Iterable[Sequence[str | Sequence[str]]]) -> str:
    """A table with a head; a cell of several texts shows one per line. A wide table scrolls horizontally."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_stacked(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def warning_list(texts: Iterable[str]) -> str:
    """Warnings, each with the setting to change; empty if there are none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="warnings">{items}</ul>' if items else ""


def commands(lines: Mapping[str, str]) -> str:
    """Next steps: command lines, each with its description."""
    items = (f"<dt>{escape(what)}</dt><dd><code>{escape(line)}</code></dd>" for line, what in lines.items())
    return f'<dl class="commands">{"".join(items)}</dl>'


def details(summary: str, text: str) -> str:
    """Preformatted text, shown after a click on its summary."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def side_by_side(*fragments: str) -> str:
    """Fragments in columns; one column on a narrow screen."""
    return f'<div class="columns">{"".join(fragments)}</div>'


def contact_sheet(thumbnails: Iterable[Thumbnail]) -> str:
    """Small images in a grid; a long text is cut, and its tooltip shows all of it."""
    return f'<div class="contact-sheet">{"".join(map(_thumbnail, thumbnails))}</div>'


def image_row(pictures: Sequence[ImageLike], text: str, note: str = "", side: int = 240) -> str:
    """Images of the same shape in one row, also on narrow screens, each at most `side` pixels wide; a text below them."""
    images = "".join(inline_image(picture, side) for picture in pictures)
    words = f"<p>{escape(text)}</p><small>{escape(note)}</small>"
    return f'<figure class="image-row" style="--side:{side}px"><div>{images}</div><figcaption>{words}</figcaption></figure>'


def _stacked(cell: str | Sequence[str]) -> str:
    return escape(cell) if isinstance(cell, str) else "".join(f"<div>{escape(text)}</div>" for text in cell)


_CLIPPED = 160  # characters of a text under a thumbnail


def _thumbnail(one: Thumbnail) -> str:
    text = one_line(str(one.text), _CLIPPED)
    return (
        f'<figure title="{escape(one.text)}"><div>{inline_image(one.image, 200)}</div>'
        f"<figcaption><p>{escape(text)}</p><small>{escape(one.note)}</small></figcaption></figure>"
    )


def thumbnail(image: ImageLike, side: int, max_pixels: int = 100_000_000) -> Image.Image:
    """The decoded image, reduced to a longer side of at most `side` pixels. Raises `ImageError` above `max_pixels`."""
    return reduced(decode(image, max_pixels), side)


def inline_image(image: ImageLike, side: int) -> str:
    """An <img> with an embedded PNG, shown at up to `side` pixels; small images are scaled without blur."""
    image, file = thumbnail(image, 2 * side), io.BytesIO()  # twice the size, for screens with two pixels per CSS pixel
    image.save(file, "PNG", optimize=True)
    sharp = ' class="pixels"' if max(image.size) < side else ""
    return f'<img{sharp} alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'
