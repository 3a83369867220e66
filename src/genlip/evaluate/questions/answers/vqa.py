"""VQA accuracy: how many of ten people gave the same answer, as VQAv2 and TextVQA count it.

In: an answer, and the answers of people to the same question. Out: a score in [0, 1].
Each person is left out once, and the answer scores a third for each of the others who gave it, at most 1. Texts are made
alike first. The figures equal those of lmms-eval 0.7.3, with these peculiarities:

- a sign becomes a space, but is deleted everywhere if it stands beside a space somewhere, and all signs are deleted if a
  comma stands between two digits: "red-green" is two words, "red-green -" and "red-green 1,000" begin with "redgreen";
- a full stop is deleted unless a digit follows, and only the first 32 of a text;
- "none" is the number 0;
- "somebody'd" loses its apostrophe, where all others gain one.

VQAv2's own code compares the answers of people as they are where all of them agree; lmms-eval always makes them alike.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

__all__ = ["textvqa_accuracy", "textvqa_words", "vqa_accuracy", "vqa_words"]

_ARTICLES = {"a", "an", "the"}
_COUNTED = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED.split())} | {"none": "0"}
_SIGNS = ';/[]"{}()=+\\_-><@`,?!'
_BETWEEN_DIGITS = re.compile(r"(?<=\d),+(?=\d)")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_STOPS = 32
# Words that may be written with one apostrophe less.
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _apostrophes() -> dict[str, str]:
    """The contracted word of each spelling that lacks one of its apostrophes."""
    places = [(word, place) for word in _CONTRACTED.split() for place, sign in enumerate(word) if sign == "'"]
    return {word[:place] + word[place + 1 :]: word for word, place in places} | {"somebody'd": "somebodyd"}


_CONTRACTIONS = _apostrophes()


def vqa_accuracy(said: str, answers: Sequence[str]) -> float:
    """As VQAv2 counts it, of the answers of at least one person; of a single one it is 0."""
    return _agreement(vqa_words(said), [vqa_words(answer) for answer in answers])


def textvqa_accuracy(said: str, answers: Sequence[str]) -> float:
    """As TextVQA counts it: commas and question marks are deleted first, and "'s" is a word of its own."""
    return _agreement(textvqa_words(said), [textvqa_words(answer) for answer in answers])


def vqa_words(text: str) -> str:
    """The text as VQAv2 compares it: without signs, articles and capitals, with digits for numbers up to ten."""
    return _words(_without_signs(_on_one_line(text)))


def textvqa_words(text: str) -> str:
    """The text as TextVQA compares it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _words(_without_signs(_on_one_line(text)))


def _agreement(said: str, answers: Sequence[str]) -> float:
    same = [answer == said for answer in answers]
    return float(statistics.mean(min(1.0, (sum(same) - own) / 3) for own in same))


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_signs(text: str) -> str:
    thousands, found = _BETWEEN_DIGITS.search(text) is not None, text
    for sign in _SIGNS:
        beside_space = f"{sign} " in text or f" {sign}" in text
        found = found.replace(sign, "" if thousands or beside_space else " ")
    return _FULL_STOP.sub("", found, count=_MOST_STOPS)


def _words(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
