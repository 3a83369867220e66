"""ANLS, the average normalised Levenshtein similarity: how close an answer comes to a true one, as DocVQA and InfographicVQA
count it.

In: an answer, and the true answers. Out: 1 minus the share of characters to change, of the closest true answer; 0 below a
half. Capitals and the number of spaces do not count. The figures equal those of lmms-eval 0.7.3, which divides by the length
of the longer text in capitals and with all its spaces: "ß" is two characters long there.
"""

from __future__ import annotations

from collections.abc import Sequence

from genlip.evaluate.captioning.alignment import edits

__all__ = ["anls"]

_LEAST = 0.5


def anls(said: str, answers: Sequence[str]) -> float:
    """The similarity in [0, 1], 0 if it is below 0.5; the answer is stripped first."""
    said = said.strip()
    found = 1 - min(_share_changed(said, answer) for answer in answers)
    return found if found >= _LEAST else 0.0


def _share_changed(said: str, true: str) -> float:
    length = max(len(said.upper()), len(true.upper()))
    return edits(_plain(said), _plain(true)) / length if length else 0.0


def _plain(text: str) -> str:
    return " ".join(text.strip().lower().split())
