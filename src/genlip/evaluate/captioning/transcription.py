"""Transcription: how many characters or words of a text were read wrongly.

In: a text read from each image, and the true texts of each image (one, as a rule). Out: `Scores`: edits divided by the
length of the true texts, summed over the set before dividing, so that long texts count for more. 0 is perfect; above 1 is
possible.

Letters count as written, upper case and punctuation too; any white space is one space, and none at the ends. Of several true
texts, the one with the lowest rate counts. An empty true text counts as one unit long where it stands alone, so that its
rate is the number of edits. All raise ValueError for an empty set, differing numbers of images, and an image without
references.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from genlip.evaluate.aggregators import error_rate
from genlip.evaluate.captioning.alignment import edits
from genlip.evaluate.scores import Scores, require_references

__all__ = ["character_error_rate", "word_error_rate"]


def character_error_rate(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Edits of characters (code points) for each true character, at least 0."""
    return _error_rate(candidates, references, lambda text: " ".join(text.split()))


def word_error_rate(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Edits of words for each true word, at least 0; a word is what stands between white space."""
    return _error_rate(candidates, references, str.split)


def _error_rate(
    candidates: Sequence[str], references: Sequence[Sequence[str]], units: Callable[[str], Sequence[str]]
) -> Scores:
    require_references(candidates, references)
    rows = []
    for told, some in zip(candidates, references, strict=True):
        read = units(told)
        found = [np.array([edits(read, true), len(true)], dtype=np.float64) for true in map(units, some)]
        rows.append(min(found, key=error_rate))
    return Scores(np.stack(rows), error_rate)
