"""Relaxed accuracy: numbers within 5 % count, all other answers must be equal, as ChartQA counts it.

In: an answer, and the true answers. Out: 1 or 0. The figures equal those of lmms-eval 0.7.3, with these peculiarities:

- "5%" is the number 0.05, so that "5" is wrong for it;
- a number with a comma or a unit is a text, and so is a true answer of 0: texts must be equal but for capitals;
- what Python reads as a number is one: "1e3", "1_000", "inf" and "nan", which equals nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["relaxed_match"]

_TOLERANCE = 0.05  # of the true number


def relaxed_match(said: str, answers: Sequence[str]) -> float:
    """1 if the answer is one of the true ones, within the tolerance; it is stripped first."""
    return float(any(_matches(said.strip(), answer) for answer in answers))


def _matches(said: str, true: str) -> bool:
    number, wanted = _number(said), _number(true)
    if number is None or not wanted:
        return said.lower() == true.lower()
    return abs(number - wanted) / abs(wanted) <= _TOLERANCE


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
