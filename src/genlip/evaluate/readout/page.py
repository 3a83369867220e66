"""Page: the part of a page about patch readouts, and the page of `genlip readout`.

In: a stored result, or a speaker and images. Out: sections of a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genlip.data.images import ImageLike
from genlip.evaluate.readout.localization import KINDS
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores
from genlip.report import charts, html, patch_words
from genlip.report.formatting import percent
from genlip.report.html import Headline, Section, Thumbnail
from genlip.report.patch_pictures import confident_picture
from genlip.speaker import PatchWords, Speaker

__all__ = ["SIDE", "readout_page", "section", "words_page", "words_section"]

SIDE = 1024  # pixels of the longer side of an image
_LISTED = 40  # words of a table


def readout_page(speaker: Speaker, images: Sequence[ImageLike], k: int = 5) -> str:
    """A whole page about images at hand, read one by one. Raises `ImageError`."""
    names = [Path(one).name if isinstance(one, str | Path) else f"image {i}" for i, one in enumerate(images, start=1)]
    sections = []
    for name, image in zip(names, images, strict=True):
        (said,) = speaker.readout([image], k)
        sections.append(words_section(name, image, said, speaker.images.max_pixels))
    return words_page(sections)


def words_page(sections: Sequence[Section]) -> str:
    """A whole page of what `words_section` made of some images, for `genlip readout MODEL IMAGE --html`."""
    how = Section("How to read this", html.paragraphs(_ASKED, _CONFIDENT))
    return html.page("What each patch would say", [how, *sections])


def words_section(name: str, image: ImageLike, said: PatchWords, max_pixels: int) -> Section:
    """One image with what its patches say. Raises `ImageError`."""
    small = html.thumbnail(image, SIDE, max_pixels)
    picture = html.image_row([confident_picture(small, said)], "Its surest patches.", side=480)
    return Section(name, patch_words.readout(small, said) + picture)


def section(result: Result) -> Section:
    """The page's part on a stored readout."""
    known = "in place" in result.scores
    parts = [html.paragraphs(_ASKED), html.headlines(_headlines(result, known))]
    often = html.table(
        ["token that patches say first", "patches"],
        [[repr(token), f"{share:.1%}"] for token, share in result.figures["likeliest"]],
    )
    if known:
        shares = [name for name in KINDS[:3] if not math.isnan(result.scores[name].score)]
        bars = charts.bars("Patches that say a word", shares, [result.scores[name] for name in shares])
        parts += [html.paragraphs(_MEANING, _CONTROLS), html.side_by_side(bars, often), _slots(result)]
        parts += [_words_table(result.figures["words"])]
    else:
        parts += [often]
    parts += _shown(result)
    return Section(f"What each patch of {result.data} would say", "".join(parts))


_ASKED = (
    "The patches of an image never see a caption, but their features can go through the same head that speaks. This is what "
    "each patch would say next, without any training for it. In training only the last row before a caption is asked for "
    "its first word, so one word that most patches agree on is usual; what differs from it tells what a patch knows."
)


_CONFIDENT = (
    "In the pictures the patches that are surest of their word are outlined, with the chance of it. Those that say the word "
    "that most patches of the image say come last."
)


_MEANING = (
    "The objects of these images are known. A patch belongs to an object that covers at least half of it; an object also "
    "has the patch that it covers most, however small it is. A patch says a word if one of its likeliest tokens is that "
    "word, or, for a word that the tokenizer always splits, its first token."
)


_CONTROLS = (
    "Read “in place” against its controls. “Elsewhere” is how often patches that the object does not touch say its words; "
    "“other image” is how often the object's own patches say the words of another image's objects. A model that says the "
    "same everywhere has a difference of 0 to both. The second control is the sterner one: where some words belong to the "
    "top of an image and others to its foot, a model that does not look can tell the places apart, but not the images."
)


def _headlines(result: Result, known: bool) -> list[Headline]:
    k = result.settings["k"]
    notes = {"same token": "of the patches of an image have the same likeliest token"}
    if known:
        notes = {
            "in place": f"of objects' patches say a word of the object among {k} tokens",
            "elsewhere": "of other patches say it too",
            "other image": "of objects' patches say a word of another image's object",
            "in place - elsewhere": "what the right place adds",
            "in place - other image": "what the right image adds",
        } | notes
    return [
        Headline(percent(result.scores[name].score), name, f"{note} ({_between(result.scores[name])})")
        for name, note in notes.items()
    ]


def _slots(result: Result) -> str:
    """A table of the scores of every slot."""
    ends = f", {KINDS[0]}"
    prefixes = ["", *(name.removesuffix(KINDS[0]) for name in result.scores if name.endswith(ends))]
    rows = [
        [prefix.removesuffix(", ") or "any word", *(_cell(result.scores[f"{prefix}{kind}"]) for kind in KINDS)]
        for prefix in prefixes
    ]
    return html.table(["which words", *KINDS], rows)


def _words_table(words: Mapping[str, Any]) -> str:
    """The words that count by their beginning alone."""
    split = {word: known["tokens"] for word, known in words.items() if known["split"]}
    if not split:
        return html.paragraphs(f"Each of the {len(words)} words is one token of its own.")
    rows = [f"{word}: {', '.join(repr(token) for token in tokens)}" for word, tokens in list(split.items())[:_LISTED]]
    if len(split) > _LISTED:
        rows.append(f"and {len(split) - _LISTED} more")
    summary = f"{len(split)} of the {len(words)} words are split by the tokenizer, and count by their first token"
    return html.details(summary, "\n".join(rows))


def _shown(result: Result) -> Iterator[str]:
    """The first images as thumbnails, then each under its grid with its surest patches."""
    numbers = range(result.figures["shown"])
    if not numbers:
        return
    yield html.paragraphs(_CONFIDENT)
    yield html.contact_sheet(
        Thumbnail(result.pictures[f"image-{i}.png"], result.keys[i], _named(result.outputs[i]["objects"])) for i in numbers
    )
    for i in numbers:
        words = [[(token, chance) for token, chance in row] for row in result.outputs[i]["words"]]
        said = PatchWords(tuple(result.outputs[i]["grid"]), words)
        yield html.paragraphs(result.keys[i])
        yield patch_words.readout(result.pictures[f"image-{i}.png"], said)
        yield html.image_row([result.pictures[f"surest-{i}.png"]], "Its surest patches.", side=480)


def _named(objects: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{' '.join(one['words'])}: {len(one['heard'])} of {len(one['patches'])} patches" for one in objects)


def _between(scores: Scores) -> str:
    low, high = scores.interval()
    return f"{percent(low)} to {percent(high)}"


def _cell(scores: Scores) -> str:
    return f"{percent(scores.score)} ({_between(scores).replace('% to', ' to')})"
