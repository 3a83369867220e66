"""Sampling: which samples of a data set a strategy of LLaVA takes.

In: a source, and "all", "first:N", "end:N" or "random:N", where N is a number or a share such as "10%". Out: a part of the
source. As in LLaVA's code, a share is rounded up, and a data set with fewer samples gives all. Unlike there, "random" takes
the same samples everywhere, in their order.
"""

from __future__ import annotations

import logging
import math
import re
from fractions import Fraction

from genlip.data.sources.base import Indexed, Subset, Without
from genlip.data.sources.mixture import drawn
from genlip.model.fields import shown
from genlip.suggestions import did_you_mean

__all__ = ["check_strategy", "sampled"]

log = logging.getLogger(__name__)

_KINDS = ("all", "first", "end", "random")
_NUMBER = re.compile(r"(\d{1,18})|(\d{1,3}(?:\.\d{1,9})?)%")
_SEED = 0  # of "random": it is part of what a strategy means


def check_strategy(strategy: object) -> str:
    """What is wrong with a strategy; empty if nothing."""
    forms = "need all, or first, end or random with a number or a share, as in first:1000 or random:10%"
    if not isinstance(strategy, str):
        return f"sampling_strategy {shown(strategy)}; {forms}"
    kind, colon, number = strategy.partition(":")
    if kind not in _KINDS:
        return f"sampling_strategy {shown(strategy)}; {forms}{did_you_mean(kind, _KINDS)}"
    if (kind == "all") == bool(colon) or (colon and not _NUMBER.fullmatch(number)):
        return f"sampling_strategy {shown(strategy)}; {forms}"
    if colon and not 0 < Fraction(number.rstrip("%")) <= (100 if number.endswith("%") else 10**18):
        return f"sampling_strategy {shown(strategy)}; need a number from 1, or a share above 0 % and up to 100 %"
    return ""


def sampled(source: Indexed, strategy: str) -> Indexed:
    """The samples of a source that a strategy takes. Memory depends at most on their number."""
    kind, _, number = strategy.partition(":")
    length = len(source)
    wanted = length if kind == "all" else _count(number, length)
    if wanted > length:
        log.warning("%s: %s of %d samples: all of them are taken", source.name, strategy, length)
    if wanted >= length:
        return source
    if kind == "random":
        few = 2 * wanted <= length
        chosen = drawn(length, wanted if few else length - wanted, _SEED)
        return Subset(source, chosen) if few else Without(source, chosen)
    return Subset(source, range(wanted) if kind == "first" else range(length - wanted, length))


def _count(number: str, length: int) -> int:
    if number.endswith("%"):
        return math.ceil(Fraction(number[:-1]) * length / 100)
    return int(number)
