"""Formatting: numbers and times as pages and messages show them."""

from __future__ import annotations

__all__ = ["duration", "short_number"]


def short_number(value: float) -> str:
    """A number in three digits: 0.25, 1.5, 640, 12k, 1.5M."""
    size = abs(value)
    for power, letter in ((9, "G"), (6, "M"), (3, "k")):
        if size >= (10_000 if power == 3 else 10**power):
            return f"{value / 10**power:.3g}{letter}"
    return f"{value:.0f}" if size >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in words: 42 s, 3.5 min, 7.2 h, 12.5 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    for size, unit, least in ((86400, "days", 2 * 86400), (3600, "h", 2 * 3600)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.1f} min"
