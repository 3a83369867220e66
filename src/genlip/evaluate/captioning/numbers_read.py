"""Numbers read: how many of the numbers in true captions are in the generated ones, in their order.

In: a caption for each image, and the true captions of each image. Out: `Scores` in [0, 1], numbers read right divided by
numbers there are. A caption can be nearly right and every number wrong; on documents, charts and scenes the numbers
show whether the model reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from genlip.evaluate.aggregators import ratio
from genlip.evaluate.scores import Scores, require_references

__all__ = ["numbers_in", "numbers_read"]

_NUMBER = re.compile(r"\d+")


def numbers_in(text: str) -> list[str]:
    """The runs of digits of a text, in order."""
    return _NUMBER.findall(text)


def numbers_read(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """The i-th number of a true caption is read right if the i-th number of the spoken one is the same, digit by digit.

    Of several true captions with numbers, the one of which most are read right counts; an image without numbers does not
    count. Raises ValueError as `require_references` does.
    """
    require_references(candidates, references)
    rows = [_evidence(numbers_in(told), map(numbers_in, some)) for told, some in zip(candidates, references, strict=True)]
    return Scores(np.array(rows, dtype=np.float64), ratio)


def _evidence(told: Sequence[str], references: map[list[str]]) -> tuple[int, int]:
    """Numbers right, and numbers there are."""
    found = [(sum(a == b for a, b in zip(told, true, strict=False)), len(true)) for true in references if true]
    return max(found, key=lambda row: (row[0] / row[1], row[1]), default=(0, 0))
