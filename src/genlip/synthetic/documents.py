"""Documents: pages of text, with a full transcription.

In: a seed and an index. Out: an image, its transcription, and questions whose answers are on the page. Document i is a pure
function of (seed, i) and of the options. There are nine kinds: article, letter, invoice, receipt, form, table, list, slide,
and sign (or a few lines cut out of a text). The longer side is drawn from `longest`, in pixels; the shape depends on the
kind. Fonts have 10 pixels or more, so the text is readable at this size; in a smaller copy it may not be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from genlip.synthetic.document_records import form, invoice, receipt, table
from genlip.synthetic.document_texts import article, letter, list_page, sign, slide
from genlip.synthetic.fonts import Family, families
from genlip.synthetic.page import RGB, Page, paint
from genlip.synthetic.random_choices import LONGEST, RandomChoices, chosen_kind, page_size
from genlip.synthetic.text_layout import Look, TextLayout

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
FULL = ("slide", "sign")  # kinds that take their whole page; others may be cut below their last line


class Document(NamedTuple):
    """What a document holds, before it is drawn."""

    kind: str
    page: Page
    questions: tuple[tuple[str, str], ...]


class Format(NamedTuple):
    """How documents of a kind are made: shapes (width / height), a range of letters per line, and a function that fills the
    page."""

    shapes: tuple[float, ...]
    letters: tuple[int, int]
    fill: Callable[[RandomChoices, TextLayout], None]


def document(
    seed: int, index: int, longest: tuple[int, int] = LONGEST, kind: str | None = None, system_fonts: bool = False
) -> Document:
    """Make the random choices of document `index`, of one `kind` if named.

    `system_fonts` adds installed fonts: document i then depends on the machine.
    """
    rng = RandomChoices(seed, index)
    kind = chosen_kind(rng, KINDS, kind)
    size = page_size(rng, longest, KINDS[kind].shapes, SHORTEST)
    margin = max(8, round(min(size) * rng.between(0.03, 0.08)))
    layout = TextLayout(size, margin, _look(rng, rng.one(families(system_fonts)), size[0] - 2 * margin, KINDS[kind].letters))
    KINDS[kind].fill(rng, layout)
    if kind == "receipt" or (kind not in FULL and rng.chance(0.4)):
        layout.cut(SHORTEST)
    return Document(kind, layout.page(), tuple(layout.questions))


def draw(content: Document) -> Image.Image:
    """The image, RGB."""
    return paint(content.page)


def describe(content: Document) -> str:
    """The transcription, in reading order: lines of a paragraph joined, `label: value`, `cell | cell`, `[x] ticked`."""
    return "".join(text.before + text.text for text in content.page.texts).lstrip("\n")


def questions(content: Document) -> tuple[tuple[str, str], ...]:
    """Questions and their answers: a piece of the transcription, or yes or no."""
    return content.questions


def _look(rng: RandomChoices, family: Family, columns: int, letters: tuple[int, int]) -> Look:
    smallest, largest = TEXT_SIZES
    size = columns / (rng.between(*letters) * 0.55)  # a letter is about 0.55 times as wide as its font size
    return Look(
        family=family,
        size=round(min(max(size, smallest, family.smallest), largest)),
        ink=rng.one(INKS),
        accent=rng.one(ACCENTS),
        paper=rng.one(PAPERS) if rng.chance(0.6) else PAPERS[0],
        leading=rng.between(1.05, 1.4),
    )


KINDS = {
    "article": Format((0.707, 0.773, 1.0, 1.41), (34, 80), article),
    "letter": Format((0.707, 0.773), (34, 60), letter),
    "invoice": Format((0.707, 0.773, 1.0), (34, 65), invoice),
    "receipt": Format((0.36, 0.45, 0.6), (22, 34), receipt),
    "form": Format((0.707, 0.85, 1.0), (30, 50), form),
    "table": Format((0.8, 1.2, 1.6), (34, 60), table),
    "list": Format((0.6, 0.75, 1.2), (24, 46), list_page),
    "slide": Format((1.33, 1.78), (24, 42), slide),
    "sign": Format((1.2, 2.0, 3.2), (24, 46), sign),
}
