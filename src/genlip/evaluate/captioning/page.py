"""Page: the part of a page about captions.

In: a stored result. Out: a section with the scores, and images with true and generated captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.evaluate.result import Result
from genlip.evaluate.score_table import interval_words, number_words, score_table, set_words
from genlip.evaluate.scores import Scores
from genlip.report import caption_cards, html
from genlip.report.html import Headline, Section

__all__ = ["SHOWN", "section"]

SHOWN = 16  # first images, good or bad

_MEANING = {
    "exact match": "share of captions that equal a true caption exactly",
    "BLEU-4": "sequences of up to four words that also occur in a true caption, from 0 to 1",
    "ROUGE-L": "words in common in the same order, from 0 to 1",
    "CIDEr-D": "words in common, weighted by how rare they are, from 0 to 10; depends on the set",
    "numbers": "share of the numbers in true captions that were generated at the same position",
    "character errors": "wrong characters for each true one; 0 is perfect",
    "word errors": "wrong words for each true one; 0 is perfect",
    "picture gain": "loss with another image minus loss with the right one, in nats per token; 0 if images are ignored",
    "loss": "nats per token of the true caption; lower is better",
}


def section(result: Result) -> Section:
    """Its part of the page: headlines, all scores, the first images with both captions, the first failures after them."""
    body = html.paragraphs(_story(result)) + html.headlines(_headlines(result)) + score_table(result.scores, _MEANING)
    first = [name for name, place in _shown(result).items() if place < SHOWN]
    wrong = [name for name in _shown(result) if name not in first]
    body += html.paragraphs(f"The first {len(first)} images, not chosen; words that differ are marked.")
    body += caption_cards.gallery(_spoken(result, first))
    if wrong:
        body += html.paragraphs("The first captions after these that are not exact.")
        body += caption_cards.gallery(_spoken(result, wrong))
    return Section(f"Captions of {set_words(result.data)}", body)


def _story(result: Result) -> str:
    settings, several = result.settings, max(len(output["references"]) for output in result.outputs)
    how = "greedily (always the likeliest token)" if not settings["temperature"] else "by sampling, as the settings say"
    against = "the true caption" if several == 1 else f"up to {several} true captions each"
    skipped = result.figures["asked"] - len(result.keys)
    rest = f" {skipped} of {result.figures['asked']} could not be used and were left out." if skipped else ""
    return (
        f"The model captioned {len(result.keys):,} images {how}, in at most {settings['max_tokens']} tokens. Its captions "
        f"are compared with {against}. An interval contains the score of 95 of 100 sets with as many such images.{rest}"
    )


def _headlines(result: Result) -> list[Headline]:
    scores, images = result.scores, len(result.keys)
    exact = scores["exact match"]
    found = [Headline(f"{exact.score:.1%}", "exact captions", f"{exact.evidence[:, 0].sum():.0f} of {images:,}")]
    if "numbers" in scores:
        found.append(Headline(f"{scores['numbers'].score:.1%}", "numbers right", _between(scores["numbers"])))
    found.append(Headline(number_words(scores["CIDEr-D"].score), "CIDEr-D", _between(scores["CIDEr-D"])))
    if "picture gain" in scores:
        note = "nats per token that the right image saves over a wrong one"
        found.append(Headline(number_words(scores["picture gain"].score), "picture gain", note))
    return found


def _between(scores: Scores) -> str:
    return f"95 % interval {interval_words(scores.interval())}"


def _shown(result: Result) -> Mapping[str, int]:
    return result.figures["shown"]


def _spoken(result: Result, names: Sequence[str]) -> list[GeneratedCaption]:
    """What the gallery shows; of several true captions the one that equals the generated one, else the first."""
    cards = []
    for name in names:
        output = result.outputs[_shown(result)[name]]
        true, said = output["references"], output["spoken"]
        nearest = next((text for text in true if text.strip() == said.strip()), true[0])
        cards.append(GeneratedCaption(output["key"], result.pictures[name], nearest, said))
    return cards
