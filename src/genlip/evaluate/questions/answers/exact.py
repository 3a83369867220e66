"""Exact match but for capitals and punctuation, as GQA is counted.

In: an answer, and the true answers. Out: 1 or 0. The figures equal those of lmms-eval 0.7.3, with these peculiarities:

- only punctuation of ASCII is deleted, and it leaves its spaces: "red - green" does not equal "red green";
- a true answer keeps the spaces at its ends, so that " red" is never met;
- a letter that has two in lower case, such as "İ", cuts the end off a text, which stays as long as it was.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

__all__ = ["exact_match", "without_punctuation"]

_DELETED = str.maketrans("", "", string.punctuation)


def exact_match(said: str, answers: Sequence[str]) -> float:
    """1 if the answer is one of the true ones; it is stripped first."""
    return float(without_punctuation(said.strip()) in map(without_punctuation, answers))


def without_punctuation(text: str) -> str:
    """In lower case, without the punctuation of ASCII."""
    return text.lower()[: len(text)].translate(_DELETED)
