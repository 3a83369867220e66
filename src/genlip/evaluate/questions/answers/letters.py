"""Letters: which of the options "A. …", "B. …" an answer chooses.

In: an answer, and the letter of the right option. Out: 1 or 0. Three rules of lmms-eval 0.7.3, whose figures are met:

- AI2D: a capital letter with a full stop at the start is the choice; else the whole answer must be the letter, but for
  capitals and punctuation. "B", "(b)" and "B. the sun" choose B, "The answer is B" chooses nothing.
- ScienceQA: the whole answer must be the letter, or begin with it as a capital and a full stop. "(b)" chooses nothing.
- MMBench without a judge: a letter that stands alone, else the one option whose text is in the answer, else the letter in
  the most telling place, also within a word. "The answer is B" chooses B.

Peculiarities of the last: of a letter A in an answer of more than three words it is not known whether it is an article, and
it is passed over; five letters are looked for where there are fewer options; and after "the answer is" the last of the
options' letters is taken, not the first.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

from genlip.evaluate.questions.answers.exact import exact_match

__all__ = ["LETTERS", "ai2d_match", "letter_found", "most_telling", "scienceqa_match"]

LETTERS = string.ascii_uppercase
_AT_START = re.compile(r"\s*([A-Z])\.")
_FEWEST = 5  # letters that are looked for alone
_ALONE = ("{}", "{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).")
_SURE = 4  # words of an answer in which "A" may be an article
# Places in which a letter is looked for, the most telling first: at the start, at the end, after a phrase, and these.
_START, _END, _PHRASE = 10, 9, 7
_PLACES = {"({})": 6, "{}.": 5, "{}:": 4, "{})": 3, "{} ": 2}
_CHOICES = ("answer", "correct answer", "best answer", "correct option", "best option", "choice", "correct choice")
_PHRASES = (
    *(f"{the}{choice} is" for choice in _CHOICES for the in ("", "the ")),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


def ai2d_match(said: str, right: str) -> float:
    """1 if the answer chooses the letter by AI2D's rule."""
    found = _AT_START.match(said)
    return exact_match(found.group(1) if found else said, [right])


def scienceqa_match(said: str, right: str) -> float:
    """1 if the answer chooses the letter by ScienceQA's rule."""
    said = said.strip()
    if said[:1].isupper() and said[1:2] == ".":
        said = said[0]
    return float(said.lower() == right.lower())


def letter_found(said: str, options: Sequence[str]) -> str:
    """The letter that the answer chooses by MMBench's rule, "" for none; it may be one without an option."""
    said = said.strip()
    return _alone(said.split(), len(options)) or _named(said, options) or most_telling(said, LETTERS[: len(options)])


def _alone(words: Sequence[str], options: int) -> str:
    """The only letter that is a word, with the signs of the first form of which there is just one."""
    for form in _ALONE:
        found = [letter for letter in LETTERS[: max(_FEWEST, options)] if form.format(letter) in words]
        if len(found) == 1 and not (form == "{}" and found == ["A"] and len(words) >= _SURE):
            return found[0]
    return ""


def _named(said: str, options: Sequence[str]) -> str:
    """The letter of the only option whose text is in the answer."""
    found = [letter for letter, text in zip(LETTERS, options, strict=False) if text.lower() in said.lower()]
    return found[0] if len(found) == 1 else ""


def most_telling(said: str, letters: str) -> str:
    """The letter in the most telling place, of several the last; "" if none occurs."""
    for sign in ",.!?;:'\"":
        said = said.strip(sign)
    said = f" {said} "
    found = [*_in_places(said, letters), *_after_phrases(said, letters), *_at_ends(said, letters)]
    found = found or [(0, said.rfind(letter), letter) for letter in letters if letter in said]
    return max(found, key=lambda one: one[:2], default=(0, 0, ""))[2]


def _in_places(said: str, letters: str) -> Iterator[tuple[int, int, str]]:
    """How telling the place is, where it is, and the letter."""
    for form, telling in _PLACES.items():
        for letter in letters:
            if (place := said.rfind(form.format(letter))) >= 0:
                yield telling, place, letter


def _after_phrases(said: str, letters: str) -> Iterator[tuple[int, int, str]]:
    lowered = said.lower()
    for phrase in _PHRASES:
        if (start := lowered.find(phrase)) >= 0:
            for letter in letters:
                if (place := said.find(letter, start + len(phrase))) >= 0:
                    yield _PHRASE, place, letter


def _at_ends(said: str, letters: str) -> Iterator[tuple[int, int, str]]:
    bare = said.strip()
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            yield _START, 0, letter
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            yield _END, len(said) - 1, letter
