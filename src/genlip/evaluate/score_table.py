"""Score words: scores as a page or a terminal shows them.

In: scores. Out: short texts. Scores stay plain numbers here, not percentages: a share, nats per token and CIDEr stand in one
column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from genlip.evaluate.scores import Interval, Scores
from genlip.report.html import table

__all__ = ["interval_words", "number_words", "score_table", "set_words", "settings_words", "signed_words"]


_NAME = 40  # characters of the name of a set


def number_words(value: float) -> str:
    """Three decimals, of small numbers two digits; a dash for what is not defined. Sizes below 1e-6 count as 0."""
    if math.isnan(value):
        return "–"
    size = abs(value) if abs(value) >= 1e-6 else 0.0
    text = f"{size:.3f}" if size == 0 or size >= 0.01 else f"{size:.2g}"
    return f"−{text}" if value < 0 and size else text


def signed_words(value: float) -> str:
    """The same with a sign, as differences have one."""
    text = number_words(value)
    return f"+{text}" if value > 0 and text != number_words(0) else text


def interval_words(interval: Interval) -> str:
    """Both ends."""
    low, high = interval
    return "–" if math.isnan(low) else f"{number_words(low)} to {number_words(high)}"


def set_words(name: str) -> str:
    """The name of a set for a table; of a long one, such as a path, its end."""
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


def settings_words(settings: Mapping[str, Any] | str) -> str:
    """Names and values in a row, those that are empty left out; a text as it stands."""
    if isinstance(settings, str):
        return settings
    known = {name: value for name, value in settings.items() if value not in ("", None, [], (), {})}
    return ", ".join(f"{name.replace('_', ' ')} {_value_words(value)}" for name, value in known.items())


def _value_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({settings_words(value)})"
    if isinstance(value, (list, tuple)):
        return " / ".join(map(_value_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def score_table(scores: Mapping[str, Scores], meaning: Mapping[str, str] | None = None) -> str:
    """Scores with their 95 % intervals, as markup; `meaning` explains some of them in words."""
    words = meaning or {}
    head = ["score", "value", "95 % interval", *(["what it is"] if words else [])]
    rows = [
        [name, number_words(one.score), interval_words(one.interval()), *([[words.get(name, "")]] if words else [])]
        for name, one in scores.items()
    ]
    return table(head, rows)
