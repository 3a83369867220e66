"""Caption cards: images with true and generated captions, with marks on the words that differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from genlip.data.images import ImageLike
from genlip.report.html import escape, inline_image

__all__ = ["CaptionHistory", "Compared", "caption_histories", "gallery", "word_marks"]


class Compared(Protocol):
    """An image, None where it is lost, with its true caption and the generated one, and whether these are the same text."""

    @property
    def image(self) -> ImageLike | None: ...  # noqa: D102
    @property
    def caption(self) -> str: ...  # noqa: D102
    @property
    def spoken(self) -> str: ...  # noqa: D102
    @property
    def exact(self) -> bool: ...  # noqa: D102


class CaptionHistory(NamedTuple):
    """The generated captions of one image over time: (time, caption) in order. `image` is None if it is missing."""

    image: ImageLike | None
    caption: str
    generated: Sequence[tuple[str, str]]


def gallery(spoken: Iterable[Compared]) -> str:
    """Images with true and generated captions; words that differ are marked."""
    return f'<div class="gallery">{"".join(map(_card, spoken))}</div>'


def caption_histories(histories: Iterable[CaptionHistory]) -> str:
    """Images with the true caption and generated captions over time; words that are not in the true one are marked."""
    return f'<div class="histories">{"".join(map(_history, histories))}</div>'


def word_marks(true: str, generated: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both captions as (word, is it in the other caption too?), aligned in order."""
    words, others = true.split(), generated.split()
    same, same_others = [False] * len(words), [False] * len(others)
    for block in SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            same[block.a + offset] = same_others[block.b + offset] = True
    return list(zip(words, same, strict=True)), list(zip(others, same_others, strict=True))


def _card(one: Compared) -> str:
    verdict = '<span class="right">✓</span>' if one.exact else '<span class="wrong">✗</span>'
    true, generated = word_marks(one.caption, one.spoken)
    image = inline_image(one.image, 112) if one.image is not None else ""
    return (
        f'<figure class="card">{image}<figcaption>'
        f"<p><i>true</i> {_marked(true, 'del')}</p>"
        f"<p><i>generated {verdict}</i> {_marked(generated, 'mark') or '(nothing)'}</p></figcaption></figure>"
    )


def _history(one: CaptionHistory) -> str:
    image = inline_image(one.image, 128) if one.image is not None else ""
    rows = "".join(_history_row(when, one.caption, text) for when, text in one.generated)
    return (
        f'<figure class="history">{image}<figcaption><table><tr><th>true</th><td>{escape(one.caption)}</td></tr>'
        f"{rows}</table></figcaption></figure>"
    )


def _history_row(when: str, true: str, text: str) -> str:
    exact = true.strip() == text.strip()
    verdict = '<span class="right">✓</span>' if exact else '<span class="wrong">✗</span>'
    words = _marked(word_marks(true, text)[1], "mark") or "(nothing)"
    if not exact and true.split() == text.split():
        words += " <small>(only white space differs)</small>"
    return f"<tr><th>{escape(when)} {verdict}</th><td>{words}</td></tr>"


def _marked(words: Sequence[tuple[str, bool]], tag: str) -> str:
    """Words as text; a run of words that differ has one mark."""
    phrases = ((same, escape(" ".join(word for word, _ in run))) for same, run in groupby(words, key=itemgetter(1)))
    return " ".join(phrase if same else f"<{tag}>{phrase}</{tag}>" for same, phrase in phrases)
