"""Pages: the lines of print on a PDF's pages, with their text.

In: a PDF. Out: for each page its picture in grey, and its lines: text, box, font and size, from the text layer.

A line is left out where the layer may not say what is printed: characters outside `ALPHABET`, sizes that differ (formulas,
footnote marks), characters that are not in a row from left to right, lines that overlap, and leaders ("Chapter . . . . 5").
pdfium draws the pages and reads the layer.
"""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2
from characters import ALPHABET, plain
from pypdfium2 import raw

_LEADER = re.compile(r"(\.\s?){4}|(•\s?){3}|_{4}|-{4}")
# Fonts of symbols: their layer says letters where signs are printed, such as h and i for angle brackets.
_SYMBOLS = re.compile(
    r"^(CM|LM|EU|e)?-?(SY|MI|EX|BSY|MIB|Math)|^MS[AB]M|^(rtx|tx|px|zp|mt|fts)[a-z]*(sy|mi|ex)|symb|math|dingbat|wasy|stmary|"
    r"marvo|awesome|pzd|bbding|ifsym|music|arrow|icon",
    re.IGNORECASE,
)
_LOW_LETTERS = frozenset("acemnorsuvwxz")  # as high as x
_SIZES, _GAP, _MOST = 1.2, 4.0, 110  # ratio of sizes in a line; widest gap in sizes; most characters


@dataclass(frozen=True)
class Line:
    """A line of print.

    Attributes:
        text: as it is printed, with plain quotes and dashes.
        box: left, top, right and bottom on the page, in points of 1/72 inch.
        font: its name without the prefix of a subset.
        size: of the font in points.
        x_height: median height of letters such as x in points; 0 where there are none.
        words: text, left and right of each word; they join to the text.
    """

    text: str
    box: tuple[float, float, float, float]
    font: str
    size: float
    x_height: float
    words: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class _Character:
    text: str
    box: tuple[float, float, float, float]  # left, top, right, bottom of its ink
    baseline: float  # from the top of the page
    size: float
    font: str


def pages_of(file: Path, dpi: int) -> Iterator[tuple[np.ndarray, list[Line]]]:
    """UInt8[H, W], the grey picture, and the lines of each page."""
    document = pypdfium2.PdfDocument(file)
    try:
        for number in range(len(document)):
            page = document[number]
            lines = lines_of(page)
            yield np.asarray(page.render(scale=dpi / 72, grayscale=True).to_pil().convert("L")) if lines else _NONE, lines
    finally:
        document.close()


_NONE = np.zeros((0, 0), np.uint8)


def lines_of(page: pypdfium2.PdfPage) -> list[Line]:
    """The usable lines of a page, in the order of its text layer; none of a page that is shown turned."""
    if page.get_rotation():
        return []
    width, height = page.get_size()
    rows = list(_rows(page))
    boxes = [_box(ink) for ink in map(_inked, rows) if ink]
    inside = [line for line in map(_line, rows) if line is not None and _within(line.box, width, height)]
    return [line for line in inside if sum(_overlap(line.box, box) for box in boxes) == 1]


def _within(box: Sequence[float], width: float, height: float) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height


def _rows(page: pypdfium2.PdfPage) -> Iterator[list[_Character]]:
    """The characters of each line of the text layer."""
    (left, bottom, _, _), text_page, row = page.get_cropbox(), page.get_textpage(), list[_Character]()
    top = bottom + page.get_height()  # the crop box of a page that inherits its size is not its own
    for index in range(text_page.count_chars()):
        character = _character(text_page, index, left, top)
        if character.text not in "\r\n":
            row.append(character)
        elif row:
            yield row
            row = []
    if row:
        yield row


def _character(text_page: pypdfium2.PdfTextPage, index: int, page_left: float, page_top: float) -> _Character:
    handle, name, flags = text_page.raw, ctypes.create_string_buffer(128), ctypes.c_int()
    raw.FPDFText_GetFontInfo(handle, index, name, len(name), flags)
    font = name.value.decode("utf8", "replace")
    x, y, matrix = ctypes.c_double(), ctypes.c_double(), raw.FS_MATRIX()
    raw.FPDFText_GetCharOrigin(handle, index, x, y)
    raw.FPDFText_GetMatrix(handle, index, matrix)
    left, bottom, right, top = text_page.get_charbox(index)
    return _Character(
        chr(raw.FPDFText_GetUnicode(handle, index)),
        (left - page_left, page_top - top, right - page_left, page_top - bottom),
        page_top - y.value,
        raw.FPDFText_GetFontSize(handle, index) * float(np.hypot(matrix.b, matrix.d)),
        font.partition("+")[2] or font,
    )


def _inked(row: Sequence[_Character]) -> list[_Character]:
    return [one for one in row if not one.text.isspace()]


def _box(ink: Sequence[_Character]) -> tuple[float, float, float, float]:
    boxes = np.array([one.box for one in ink])
    (left, top), (right, bottom) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    return float(left), float(top), float(right), float(bottom)


def _line(row: Sequence[_Character]) -> Line | None:
    """The line, or None where its text may not be what is printed."""
    ink, text = _inked(row), plain("".join(one.text for one in row))
    if not 2 <= len(text) <= _MOST or not ALPHABET.issuperset(text) or _LEADER.search(text):
        return None
    if any(_SYMBOLS.search(font) for font in {one.font for one in ink}):
        return None
    lefts, rights = (np.array([one.box[place] for one in ink]) for place in (0, 2))
    sizes, baselines = (np.array([getattr(one, name) for one in ink]) for name in ("size", "baseline"))
    size = float(np.median(sizes))
    if size < 3 or sizes.max() > _SIZES * sizes.min() or np.ptp(baselines) > 0.1 * size:
        return None
    if (np.diff(lefts) < -0.3 * size).any() or (lefts[1:] - rights[:-1] > _GAP * size).any():
        return None
    left, top, right, bottom = _box(ink)
    words = tuple(_words(row))
    if " ".join(word for word, _, _ in words) != text:
        return None
    heights = [one.box[3] - one.box[1] for one in ink if one.text in _LOW_LETTERS]
    base, fonts = float(np.median(baselines)), [one.font for one in ink]
    box = (left, min(top, base - 0.7 * size), right, max(bottom, base + 0.2 * size))
    return Line(text, box, max({*fonts}, key=fonts.count), size, float(np.median(heights)) if heights else 0.0, words)


def _words(row: Sequence[_Character]) -> Iterator[tuple[str, float, float]]:
    """Text, left and right of the words of a row."""
    for blank, some in itertools.groupby(row, key=lambda one: plain(one.text) == ""):
        if not blank:
            characters = list(some)
            left, _, right, _ = _box(characters)
            yield plain("".join(one.text for one in characters)), left, right


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes share more than a quarter of the lower one's height, at some place."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > 0 and down > 0.25 * min(one[3] - one[1], other[3] - other[1])
