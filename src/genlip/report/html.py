"""Report: the pieces of one HTML page that needs nothing but itself: no scripts, no fonts, no files beside it.

In: figures, curves, histograms, tables, captions and patch readouts. Out: fragments of HTML, and the page that holds them.
Every function escapes whatever it is given and returns markup; only `Section.body` takes markup. Stored results and logs may
be another's, so what should be a number passes `escape` or a format of numbers, too, and the page forbids scripts. Colours
are custom properties of the page, in charts too, so that everything follows the reader's light or dark mode.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from html import escape as escape_text
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from genlip.data.images import ImageLike, decode, reduced
from genlip.evaluate.captions.spoken import Spoken
from genlip.evaluate.scores import Scores
from genlip.speaker import PatchWords
from genlip.terminal import harmless

__all__ = [
    "Headline", "Line", "Section", "Speech", "Thumbnail", "advice", "bars", "chart", "commands", "common_token",
    "contact_sheet", "curve", "duration", "escape", "facts", "folded", "gain_chart", "gallery", "headlines", "histogram",
    "loss_chart", "page", "paragraphs", "readout", "short_number", "side_by_side", "speeches", "strip", "table", "thin",
    "word_marks",
]  # fmt: skip


class Section(NamedTuple):
    """A part of the page: a title, and markup that the functions below made."""

    title: str
    body: str


class Headline(NamedTuple):
    """A figure that is read first, what it is, and what it means."""

    value: str
    label: str
    note: str = ""


class Line(NamedTuple):
    """A curve over the steps of a run. `colour` is "blue" or "orange"; `marked` puts a dot on each value.

    Of a long curve, `chart` draws what `thin` keeps.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str = "blue"
    marked: bool = False


class Thumbnail(NamedTuple):
    """A small image, the text below it, and a quiet line about it."""

    image: ImageLike
    text: str
    note: str = ""


class Speech(NamedTuple):
    """What was said about one image at several times: (when, what) in order. `image` is None where it is lost."""

    image: ImageLike | None
    caption: str
    said: Sequence[tuple[str, str]]


def page(title: str, sections: Iterable[Section]) -> str:
    """The whole page. Captions and names of files stand in it as a terminal shows them, see `harmless`."""
    parts = "\n".join(f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" for title, body in sections)
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
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


def loss_chart(train: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> str:
    """The loss of both kinds of log events over the steps."""
    lines = [curve("training", train, "loss"), curve("held out", held_out, "loss", "orange", marked=True)]
    return chart("Loss, in nats per token", lines, logarithmic=True)


def gain_chart(held_out: Sequence[Mapping[str, Any]]) -> str:
    """The picture gain of held-out log events over the steps."""
    return chart("Picture gain, in nats per token", [curve("picture gain", held_out, "picture_gain", "orange", marked=True)])


def curve(
    name: str, events: Iterable[Mapping[str, Any]], key: str, colour: str = "blue", marked: bool = False, scale: float = 1
) -> Line:
    """A figure of log events over their steps, times `scale`; events that do not have it are passed over."""
    found = [(event["step"], scale * event[key]) for event in events if event.get(key) is not None]
    return Line(name, [step for step, _ in found], [value for _, value in found], colour, marked)


def thin(values: Sequence[float], points: int = 1000) -> list[int]:
    """Which values a curve of about so many points is drawn by: the least and the largest of each stretch, and both ends."""
    if len(values) <= points:
        return list(range(len(values)))
    found = np.asarray(values, dtype=np.float64)
    edges = np.linspace(0, len(found), points // 2 + 1).astype(int)
    kept = {0, len(found) - 1}
    for start, end in pairwise(edges):
        kept |= {start + int(found[start:end].argmin()), start + int(found[start:end].argmax())}
    return sorted(kept)


def chart(title: str, lines: Sequence[Line], logarithmic: bool = False, below: str = "step") -> str:
    """Curves over the steps, or over what else is named `below` them, as SVG.

    A linear axis includes 0. A logarithmic one shows positive values only, and is linear where they are close together.
    """
    figure = Figure(figsize=(5.2, 3.1), layout="constrained")
    axes = figure.add_subplot()
    lines = [line for line in lines if line.values]
    for line in lines:
        _draw(axes, line)
    if logarithmic:
        _make_logarithmic(axes, lines)
    else:
        least = min((value for line in lines for value in line.values), default=0.0)
        axes.set_ylim(bottom=0.0 if least >= 0 else axes.get_ylim()[0])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    _dress(axes, below)
    if len(lines) > 1:
        axes.legend(frameon=False, labelcolor=_PAINT["ink"], loc="best")
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{_svg(figure, title)}</figure>'


def bars(title: str, names: Sequence[str], scores: Sequence[Scores], note: str = "") -> str:
    """Scores side by side as horizontal bars with their intervals, as SVG; the axis includes 0, long names are cut."""
    figure = Figure(figsize=(5.2, 0.6 + 0.34 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    values, ends = [one.score for one in scores], [one.interval() for one in scores]
    places = range(len(names), 0, -1)
    axes.barh(list(places), values, height=0.6, color=_PAINT["blue"])
    for place, (low, high) in zip(places, ends, strict=True):
        axes.plot([low, high], [place, place], color=_PAINT["ink"], linewidth=1.4, solid_capstyle="butt")
    axes.set_yticks(list(places), [_literal(name if len(name) <= _NAME else f"{name[: _NAME - 1]}…") for name in names])
    axes.set_ylim(0.4, len(names) + 0.6)
    axes.set_xlim(left=min([0.0, *(low for low, _ in ends if low < 0)]))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _quieten(axes, "", "x")
    small = f"<small>{escape(note)}</small>" if note else ""
    return f'<figure class="chart"><figcaption>{escape(title)}{small}</figcaption>{_svg(figure, title)}</figure>'


def histogram(title: str, values: Sequence[float] | np.ndarray, unit: str, what: str = "images") -> str:
    """How often which value occurs, as SVG; logarithmic in the values where these are positive and span decades.

    unit   of the values, below their axis
    what   is counted: named beside the median
    """
    found = np.asarray(values, dtype=np.float64)
    logarithmic = bool(found.min() > 0) and found.max() > _WIDE_RANGE * found.min()
    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(found, _edges(found, logarithmic).tolist(), color=_PAINT["blue"], rwidth=0.92)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if found.max() < 300 * found.min() else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    close = found.max() - found.min() < 0.02 * abs(found.max())  # in three digits, all would be the same number
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}" if close else short_number(value)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _quieten(axes, unit)
    note = f"<small>median {short_number(float(np.median(found)))} of {len(found):,} {escape(what)}</small>"
    return f'<figure class="chart"><figcaption>{escape(title)}{note}</figcaption>{_svg(figure, title)}</figure>'


def contact_sheet(thumbnails: Iterable[Thumbnail]) -> str:
    """Small images beside each other; a long text is cut, and shown whole when pointed at."""
    return f'<div class="sheet">{"".join(map(_thumbnail, thumbnails))}</div>'


def strip(pictures: Sequence[ImageLike], text: str, note: str = "", side: int = 240) -> str:
    """Pictures of one shape in one row, however narrow the screen, each shown at up to `side` pixels; a text below them."""
    images = "".join(_image(picture, side) for picture in pictures)
    words = f"<p>{escape(text)}</p><small>{escape(note)}</small>"
    return f'<figure class="strip" style="--side:{side}px"><div>{images}</div><figcaption>{words}</figcaption></figure>'


def gallery(spoken: Iterable[Spoken]) -> str:
    """Images with the true caption and the spoken one; words that differ are marked."""
    return f'<div class="gallery">{"".join(map(_card, spoken))}</div>'


def speeches(told: Iterable[Speech]) -> str:
    """Images with the true caption and what was said over time; words that are not in the true one are marked."""
    return f'<div class="speeches">{"".join(map(_speech, told))}</div>'


def word_marks(true: str, spoken: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both captions as (word, is it in the other caption too?), aligned in order."""
    words, heard = true.split(), spoken.split()
    same, same_heard = [False] * len(words), [False] * len(heard)
    for block in SequenceMatcher(None, words, heard, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            same[block.a + offset] = same_heard[block.b + offset] = True
    return list(zip(words, same, strict=True)), list(zip(heard, same_heard, strict=True))


def readout(image: ImageLike, said: PatchWords) -> str:
    """An image under its grid of patches: each shows its likeliest token, and all of its tokens when pointed at.

    A token that most patches agree on is shown quietly.
    """
    (rows, columns), (common, _) = map(int, said.grid), common_token(said)
    cells = "".join(_cell(words, i // columns, i % columns, words[0][0] == common) for i, words in enumerate(said.words))
    return (
        f'<div class="readout" style="--rows:{rows};--columns:{columns}"><div class="stage">'
        f'<div class="image">{_image(image, 512)}<div class="patches">{cells}</div></div>'
        '<p class="hint">Point at a patch, tap it, or move to it with Tab, to see its likeliest tokens.</p>'
        f"</div></div>{_readout_table(said)}"
    )


def common_token(said: PatchWords) -> tuple[str | None, int]:
    """The token that is likeliest for more than half of the patches, and for how many; (None, 0) if none is."""
    (token, times), *_ = Counter(words[0][0] for words in said.words).most_common()
    return (token, times) if 2 * times > len(said.words) else (None, 0)


def short_number(value: float) -> str:
    """A number in three digits: 0.25, 1.5, 640, 12k, 1.5M."""
    size = abs(value)
    for power, letter in ((9, "G"), (6, "M"), (3, "k")):
        if size >= (10_000 if power == 3 else 10**power):
            return f"{value / 10**power:.3g}{letter}"
    return f"{value:.0f}" if size >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in words: 42 s, 3.5 min, 7.2 h, 12.5 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    for size, unit, least in ((86400, "days", 2 * 86400), (3600, "h", 2 * 3600)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.1f} min"


# Stand-ins that matplotlib draws with; the page's own colours take their place in the SVG.
_PAINT = {"ink": "#000001", "quiet": "#000002", "blue": "#000003", "orange": "#000004"}


def _draw(axes: Axes, line: Line) -> None:
    """One curve, long ones thinned; a single value is a dot."""
    kept = thin(line.values)
    dot = "o" if line.marked or len(kept) == 1 else None
    axes.plot(
        [line.steps[i] for i in kept],
        [line.values[i] for i in kept],
        color=_PAINT[line.colour],
        marker=dot,
        markersize=4 if len(kept) < 100 else 2,
        linewidth=1.8 if len(kept) < 500 else 1.0,
        label=_literal(line.name),
    )


def _make_logarithmic(axes: Axes, lines: Sequence[Line]) -> None:
    """A vertical axis in plain numbers, with more of them if the values span less."""
    values = [value for line in lines for value in line.values if value > 0]
    if values and max(values) < 4 * min(values):  # too few round powers between them to label
        return
    narrow = not values or max(values) < 100 * min(values)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _dress(axes: Axes, below: str) -> None:
    """Quiet axes; steps start at 0."""
    if below == "step":
        axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    _quieten(axes, below)


def _quieten(axes: Axes, below: str, lines: Literal["x", "y"] = "y") -> None:
    """No box, light lines across the values' axis, the page's colours."""
    axes.set_xlabel(_literal(below), color=_PAINT["quiet"])
    axes.tick_params(colors=_PAINT["quiet"], length=0)
    axes.grid(axis=lines, color=_PAINT["quiet"], alpha=0.25, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set_visible(side == ("bottom" if lines == "y" else "left"))
        spine.set_color(_PAINT["quiet"])


_NAME = 30  # characters of a name beside a bar


def _literal(text: str) -> str:
    """A text that matplotlib draws as it stands: between two of them, a dollar sign would begin a formula.

    It fails on what UTF-8 cannot write, such as bytes of names, and warns of control characters by repeating them.
    """
    return harmless(text).replace("$", r"\$")


_WIDE_RANGE = 30  # times the least value: from there on, an axis is logarithmic
_BINS = 32


def _edges(found: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Edges of the bins; of whole numbers, each bin of a linear axis takes equally many."""
    least, most = float(found.min()), float(found.max())
    whole = bool((found % 1 == 0).all())
    if logarithmic:
        edges = np.geomspace(least, most + 1 if whole else most, _BINS + 1)
        edges[0], edges[-1] = least, max(most, edges[-1])  # which rounding may have moved inwards
        return np.unique(np.rint(edges)) - 0.5 if whole else edges
    if whole:
        width = math.ceil((most - least + 1) / _BINS)
        return np.arange(least - 0.5, most + width, width)
    return np.linspace(least, most, _BINS + 1)


def _svg(figure: Figure, label: str) -> str:
    """A figure as inline SVG without what only a file of its own needs, in the page's colours."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": label}):  # else the names of clips are random, and no page is like the one before
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text[text.index("<svg") :])
    for name, paint in _PAINT.items():
        text = text.replace(paint, f"var(--{name})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _stacked(cell: str | Sequence[str]) -> str:
    return escape(cell) if isinstance(cell, str) else "".join(f"<div>{escape(text)}</div>" for text in cell)


_CLIPPED = 160  # characters of a text under a thumbnail


def _thumbnail(one: Thumbnail) -> str:
    text = str(one.text)
    text = text if len(text) <= _CLIPPED else f"{text[:_CLIPPED].rstrip()}…"
    return (
        f'<figure title="{escape(one.text)}"><div>{_image(one.image, 200)}</div>'
        f"<figcaption><p>{escape(text)}</p><small>{escape(one.note)}</small></figcaption></figure>"
    )


def _card(one: Spoken) -> str:
    verdict = '<span class="right">✓</span>' if one.exact else '<span class="wrong">✗</span>'
    true, heard = word_marks(one.caption, one.spoken)
    return (
        f'<figure class="card">{_image(one.image, 112)}<figcaption>'
        f"<p><i>true</i> {_marked(true, 'del')}</p><p><i>said {verdict}</i> {_marked(heard, 'mark') or '(nothing)'}</p>"
        "</figcaption></figure>"
    )


def _speech(one: Speech) -> str:
    image = _image(one.image, 128) if one.image is not None else ""
    return (
        f'<figure class="speech">{image}<figcaption><table><tr><th>true</th><td>{escape(one.caption)}</td></tr>'
        f"{''.join(_said(when, one.caption, text) for when, text in one.said)}</table></figcaption></figure>"
    )


def _said(when: str, true: str, text: str) -> str:
    exact = true.strip() == text.strip()
    verdict = '<span class="right">✓</span>' if exact else '<span class="wrong">✗</span>'
    words = _marked(word_marks(true, text)[1], "mark") or "(nothing)"
    if not exact and true.split() == text.split():
        words += " <small>(only white space differs)</small>"
    return f"<tr><th>{escape(when)} {verdict}</th><td>{words}</td></tr>"


def _marked(words: Sequence[tuple[str, bool]], tag: str) -> str:
    """Words as text, neighbours that differ under one mark."""
    phrases = ((same, escape(" ".join(word for word, _ in run))) for same, run in groupby(words, key=itemgetter(1)))
    return " ".join(phrase if same else f"<{tag}>{phrase}</{tag}>" for same, phrase in phrases)


def _cell(words: Sequence[tuple[str, float]], row: int, column: int, quiet: bool) -> str:
    token, chance = words[0]
    shown = _visible(token).strip("␣") or "␣"
    return (
        f'<div class="patch{" quiet" if quiet else ""}" tabindex="0" style="--letters:{len(shown)};--chance:{chance:.2f}">'
        f"<b>{escape(shown)}</b><small>{chance:.0%}</small>"
        f'<div class="tokens"><h3>row {row + 1}, column {column + 1}</h3>{_bars(words)}</div></div>'
    )


def _bars(words: Sequence[tuple[str, float]]) -> str:
    rows = "".join(
        f'<tr><th>{escape(_visible(token))}</th><td><span style="width:{chance:.1%}"></span></td><td>{chance:.1%}</td></tr>'
        for token, chance in words
    )
    return f"<table>{rows}</table>"


def _readout_table(said: PatchWords) -> str:
    columns = int(said.grid[1])
    lines = "".join(
        f"<tr><td>{i // columns + 1}</td><td>{i % columns + 1}</td><td>"
        + ", ".join(f"{escape(_visible(token))} {chance:.1%}" for token, chance in words)
        + "</td></tr>"
        for i, words in enumerate(said.words)
    )
    head = "<tr><th>row</th><th>column</th><th>likeliest tokens</th></tr>"
    return f"<details><summary>The same as a table</summary><table>{head}{lines}</table></details>"


def _visible(token: str) -> str:
    """A token with its white space made visible."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


def _image(image: ImageLike, side: int) -> str:
    """An <img> that holds its image as PNG, shown at up to `side` pixels; small images keep their pixels sharp."""
    image, file = reduced(decode(image), 2 * side), io.BytesIO()  # twice: screens may show two pixels for one
    image.save(file, "PNG", optimize=True)
    sharp = ' class="pixels"' if max(image.size) < side else ""
    return f'<img{sharp} alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'


_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --edge: #e3e0da; --ink: #22242a; --quiet: #6b6e76;
  --blue: #2f66c9; --orange: #c8641b; --good: #1e7b45; --bad: #b3261e; --bad-wash: #fbdedb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181d; --card: #1e2127; --edge: #343841; --ink: #e8e6e1; --quiet: #9ba0ab;
    --blue: #7ba7f7; --orange: #f0a05a; --good: #6fce96; --bad: #ff9c94; --bad-wash: #5b2724;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: break-word; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 12px; }
p { margin: 0 0 12px; max-width: 72ch; }
figure { margin: 0; }
code { font-family: ui-monospace, monospace; font-size: 14px; }
pre { font-family: ui-monospace, monospace; font-size: 13px; line-height: 1.4; overflow-x: auto; }
details { margin-top: 12px; color: var(--quiet); font-size: 14px; }
details td, details th { padding: 2px 16px 2px 0; text-align: left; vertical-align: top; }
.pixels { image-rendering: pixelated; }

.headlines { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.headlines div { display: flex; flex-direction: column; padding: 14px 16px; background: var(--card);
  border: 1px solid var(--edge); border-radius: 10px; }
.headlines b { font-size: 24px; line-height: 1.25; }
.headlines small { color: var(--quiet); line-height: 1.35; margin-top: 4px; }
.headlines div:first-child b { color: var(--blue); }

.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px;
  margin-bottom: 12px; }
.chart { padding: 14px 14px 8px; background: var(--card); border: 1px solid var(--edge); border-radius: 10px; }
.chart figcaption { font-weight: 600; font-size: 15px; margin-bottom: 6px; }
.chart figcaption small { display: block; font-weight: 400; color: var(--quiet); }
.chart svg { display: block; width: 100%; height: auto; }

.table { overflow-x: auto; margin-bottom: 12px; }
.table table { border-spacing: 0; font-size: 14px; line-height: 1.4; font-variant-numeric: tabular-nums; }
.table th, .table td { text-align: left; vertical-align: top; padding: 6px 20px 6px 0;
  border-bottom: 1px solid var(--edge); }
.table th { font-weight: 500; color: var(--quiet); white-space: nowrap; }
.table td:not(:last-child) { white-space: nowrap; }
.table td div { min-width: 280px; overflow-wrap: anywhere; }
.table td div + div { margin-top: 4px; }
.advice { margin: 16px 0 0; padding: 14px 18px 14px 34px; background: var(--card); border: 1px solid var(--edge);
  border-left: 4px solid var(--orange); border-radius: 10px; overflow-wrap: anywhere; }
.advice li + li { margin-top: 8px; }

.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(46%, 210px), 1fr)); gap: 12px; }
.sheet figure { min-width: 0; padding: 10px; background: var(--card); border: 1px solid var(--edge); border-radius: 10px; }
.sheet figure > div { height: 200px; display: flex; }
.sheet img { width: 100%; height: 100%; object-fit: contain; }
.sheet figcaption { margin-top: 8px; font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.sheet p { margin: 0 0 4px; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
.sheet small { color: var(--quiet); }
@media (max-width: 480px) { .sheet figure > div { height: 140px; } }

.strip, .headlines, .sheet, section > .chart, section > details { margin-bottom: 16px; }
.strip > div { display: flex; gap: 6px; }
.strip img { flex: 0 1 var(--side); min-width: 0; height: auto; align-self: start; border-radius: 5px; }
.strip figcaption { margin-top: 6px; font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.strip p { margin: 0; }
.strip small { color: var(--quiet); }

.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); gap: 12px; }
.card { display: flex; gap: 12px; padding: 10px; background: var(--card); border: 1px solid var(--edge);
  border-radius: 10px; }
.card img { flex: none; width: 112px; height: 112px; object-fit: contain; border-radius: 5px; }
.card figcaption { min-width: 0; font-size: 13px; line-height: 1.4; color: var(--quiet); overflow-wrap: anywhere; }
.card p { margin: 0 0 5px; }
.card i { font-style: normal; font-weight: 600; color: var(--ink); }
.card del { color: var(--ink); text-decoration: underline dotted; text-underline-offset: 3px; }
.card mark { color: var(--bad); background: var(--bad-wash); border-radius: 3px; padding: 0 2px; font-weight: 600; }

.speeches { display: grid; gap: 12px; }
.speech { display: flex; flex-wrap: wrap; gap: 16px; padding: 12px; background: var(--card); border: 1px solid var(--edge);
  border-radius: 10px; }
.speech img { flex: none; width: 128px; height: 128px; object-fit: contain; border-radius: 5px; }
.speech figcaption { flex: 1 1 300px; min-width: 0; font-size: 14px; line-height: 1.4; overflow-wrap: anywhere; }
.speech table { border-spacing: 0; }
.speech th, .speech td { text-align: left; vertical-align: top; padding: 0 14px 4px 0; }
.speech th { font-weight: 500; color: var(--quiet); white-space: nowrap; font-variant-numeric: tabular-nums; }
.speech tr:first-child > * { color: var(--ink); font-weight: 600; }
@media (max-width: 560px) {
  .speech :is(tbody, tr, th, td) { display: block; padding: 0; }
  .speech td { padding-bottom: 6px; }
}
.speech mark { color: var(--bad); background: var(--bad-wash); border-radius: 3px; padding: 0 2px; }
.right { color: var(--good); }
.wrong { color: var(--bad); }

.readout { container-type: inline-size; margin-bottom: 12px; }
.stage { position: relative; --side: min(512px, 100cqw); }
.image { display: grid; width: var(--side); aspect-ratio: var(--columns) / var(--rows); }
.image > * { grid-area: 1 / 1; width: 100%; height: 100%; min-width: 0; min-height: 0; }
.image img { border-radius: 6px; }
.patches { display: grid; grid-template: repeat(var(--rows), 1fr) / repeat(var(--columns), 1fr); }
.patch { min-width: 0; min-height: 0; display: flex; flex-direction: column; align-items: center; justify-content: flex-end;
  padding-bottom: 5%;
  outline: 1px solid rgb(127 127 127 / .45); outline-offset: -.5px; cursor: default; overflow: hidden; color: #fff;
  --cell: calc(var(--side) / var(--columns)); }
.patch b { max-width: 100%; padding: .1em .3em; border-radius: .3em; white-space: nowrap; line-height: 1.3;
  background: rgb(20 22 28 / calc(.55 + .35 * var(--chance)));
  font-size: clamp(7px, calc(var(--cell) * .9 / (var(--letters) * .62 + .6)), 16px); }
.patch small { font-size: 11px; line-height: 1; margin-top: 3px; padding: 2px 4px; border-radius: 3px;
  background: rgb(20 22 28 / .6); }
.patch.quiet > :is(b, small) { opacity: .45; }
.patch:is(:hover, :focus) { outline: 3px solid var(--orange); outline-offset: -3px; }
.tokens { display: none; position: absolute; left: calc(var(--side) + 28px); right: 0; top: 0; z-index: 1;
  padding-bottom: 12px; background: var(--paper); color: var(--ink); }
.patch:hover .tokens { z-index: 2; }
.patch:is(:hover, :focus) .tokens { display: block; }
.tokens h3 { margin: 0 0 8px; font-size: 15px; }
.tokens table { width: 100%; border-spacing: 0; font-size: 14px; }
.tokens th { text-align: left; font-weight: 600; width: 8em; }
.tokens td span { display: block; height: 10px; min-width: 1px; background: var(--blue); border-radius: 3px; }
.tokens td:last-child { width: 4em; text-align: right; font-variant-numeric: tabular-nums; }
.hint { position: absolute; left: calc(var(--side) + 28px); right: 0; top: 0; color: var(--quiet); }
@container (max-width: 760px) {
  .stage { padding-bottom: 176px; }
  .tokens, .hint { left: 0; top: auto; bottom: 0; height: 164px; margin: 0; }
}
@container (max-width: 420px) { .patch small { display: none; } }

.facts { border-spacing: 0; font-size: 15px; margin-bottom: 16px; }
.facts th, .facts td { text-align: left; vertical-align: top; padding: 5px 20px 5px 0;
  border-bottom: 1px solid var(--edge); }
.facts th { font-weight: 500; color: var(--quiet); white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.columns > .facts { align-self: start; }
.commands { margin: 0; }
.commands dt { color: var(--quiet); }
.commands dd { margin: 2px 0 12px; }
.commands code { display: block; padding: 8px 12px; overflow-x: auto; white-space: pre; background: var(--card);
  border: 1px solid var(--edge); border-radius: 8px; }
"""
