"""Formatting: numbers, counts, durations, sizes and percentages as pages, tables and messages show them."""

from __future__ import annotations

import math
from datetime import timedelta

__all__ = [
    "GIB",
    "UNKNOWN",
    "clock",
    "compact",
    "counted",
    "duration",
    "estimate",
    "figure",
    "large_count",
    "long_duration",
    "one_line",
    "percent",
    "share",
    "short_number",
    "size",
    "two_digits",
    "unit_of_time",
    "with_prefix",
]

GIB = 2**30
UNKNOWN = "–"  # shown for a value that is missing or NaN
_SIZES = {"MB": 1e6, "GB": 1e9, "MiB": 2**20, "GiB": GIB}
_TIMES = (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))


# -- numbers


def short_number(value: float) -> str:
    """Three digits: 0.25, 1.5, 640, 12k, 1.5M."""
    size = abs(value)
    for power, letter in ((9, "G"), (6, "M"), (3, "k")):
        if size >= (10_000 if power == 3 else 10**power):
            return f"{value / 10**power:.3g}{letter}"
    return f"{value:.0f}" if size >= 100 else f"{value:.3g}"


def figure(value: float) -> str:
    """A measured value: whole numbers and large values without decimals, others in three digits."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def two_digits(value: float) -> str:
    """A whole number from 10 on, else two digits; "under 0.01" for smaller values."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.01 else "under 0.01"


def with_prefix(value: float) -> str:
    """Three digits and the prefix of a unit that follows: "1.23 G"."""
    for size, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} "


# -- counts


def counted(number: int, what: str) -> str:
    """A number of things: "1 pack", "1,234 packs", "2 processes"."""
    return f"{number:,} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def large_count(number: float) -> str:
    """A large count in three digits: "37 M", or "1.2 B" for billions as in recipes."""
    return with_prefix(number).replace("G", "B").strip()


def compact(number: float) -> str:
    """A whole number in full below ten million, else in three digits: "1,234,567", "37 M"."""
    if number < 10_000_000:
        return f"{number:,.0f}"
    power, letter = next(unit for unit in ((12, "T"), (9, "B"), (6, "M")) if number >= 10 ** unit[0])
    return f"{number / 10**power:.3g} {letter}"


def estimate(number: float) -> str:
    """An estimated count, rounded to three digits."""
    return compact(float(f"{number:.3g}")) if number >= 1000 else f"{number:.3g}"


# -- shares


def percent(value: float | None, unknown: str = UNKNOWN) -> str:
    """A share with one decimal; `unknown` for None and NaN."""
    if value is None or math.isnan(value):
        return unknown
    return f"{value:.1%}".replace("-0.0%", "0.0%").replace("-", "−")


def share(value: float) -> str:
    """A share of examples: "none" for 0, "<0.1%" for very few, else a percentage."""
    return "none" if not value else "<0.1%" if value < 0.0005 else f"{value:.1%}"


# -- times


def duration(seconds: float) -> str:
    """A time with a short unit: 42 s, 3.5 min, 7.2 h, 12.5 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    for size, unit, least in ((86400, "days", 2 * 86400), (3600, "h", 2 * 3600)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.1f} min"


def long_duration(seconds: float) -> str:
    """An estimated time in three digits with its unit in full: 2.91 days, 3.5 hours, 0.25 seconds."""
    name, size = unit_of_time(seconds)
    return f"{seconds / size:.3g} {name}"


def unit_of_time(seconds: float) -> tuple[str, float]:
    """The largest unit of which this time has at least one, and its seconds."""
    return next(((name, size) for name, size in _TIMES if seconds >= size), ("seconds", 1.0))


def clock(seconds: float | None) -> str:
    """A time as 0:01:30 or 3 days, 4:00:00; `UNKNOWN` for None, NaN and infinity."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    return str(timedelta(seconds=round(seconds)))


# -- sizes and texts


def size(number: float, unit: str) -> str:
    """A number of bytes in MB, GB, MiB or GiB: "1,234.5 MB"."""
    return f"{number / _SIZES[unit]:,.1f} {unit}"


def one_line(text: str, most: int = 80) -> str:
    """A text on one line, cut after `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most].rstrip()}…"
