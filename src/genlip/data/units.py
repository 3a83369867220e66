"""Units: sizes as users write them: "8B", "32k samples of 270 tokens", "4 packs".

In: text of a recipe or a command line. Out: numbers. Suffixes are decimal: k is 1,000, M a million, B a billion, T a
trillion.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from genlip.model.fields import shown
from genlip.terminal import program

__all__ = ["BatchSize", "batch_size", "count"]

_SUFFIX = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT = r"(\d[\d_,]*(?:\.\d+)?)\s?([kKMBT]?)"
_BATCH = re.compile(rf"{_COUNT}\s+(pack|token|sample)s?(?:\s+of\s+(\d+(?:\.\d+)?)\s+tokens?)?")


class BatchSize(NamedTuple):
    """The batch size of an update.

    Attributes:
        packs: packs of an update, over all ranks.
        tokens_per_sample: mean rows of a sample, patches and text; 0 if not given.
    """

    packs: int
    tokens_per_sample: float


def count(text: str) -> int:
    """A whole number: "8B" is 8,000,000,000, "1.5k" 1,500. Raises ValueError for anything else."""
    found = re.fullmatch(_COUNT, text.strip())
    number = _number(found[1], found[2]) if found else 0.5
    if not number.is_integer() or number >= 2**63:
        raise ValueError(
            f"{shown(text)} is not a whole number: need digits, and optionally one of k, M, B, T, as in 32k or 8B"
        )
    return int(number)


def batch_size(text: str, max_tokens: int) -> BatchSize:
    """The number of packs of `max_tokens` rows for a batch size: "4 packs", "8M tokens", or "32k samples of 270 tokens".

    Tokens and samples give a rounded number of packs: within 1/30, the one divisible by the largest power of 2, so that it
    divides evenly over ranks. Raises ValueError for any other text.
    """
    found = _BATCH.fullmatch(text.strip())
    if not found:
        raise ValueError(f"packing.batch is {text!r}: write it as 4 packs, 8M tokens, or 32k samples of 270 tokens")
    number, unit, per_sample = _number(found[1], found[2]), found[3], float(found[4] or 0)
    if unit == "sample" and not per_sample:
        raise ValueError(
            f"packing.batch is {text!r}: say how long a sample is on average, patches and text, as in {text} of 270 tokens; "
            f"{program()} data inspect measures it"
        )
    tokens = {"pack": number * max_tokens, "token": number, "sample": number * per_sample}[unit]
    if not tokens / max_tokens < 2**63:
        raise ValueError(f"packing.batch is {shown(text)}: it must be less than 2**63 packs")
    packs = round(tokens / max_tokens)
    if unit != "pack":
        near = range(packs - packs // 30, packs + packs // 30 + 1)
        packs = max(near, key=lambda n: (n & -n, -abs(n - packs)))
    if packs < 1 or (unit == "pack" and packs != number):
        raise ValueError(f"packing.batch is {text!r}: it must be at least one pack, of {max_tokens} tokens, and whole packs")
    return BatchSize(packs, per_sample)


def _number(digits: str, suffix: str) -> float:
    return float(digits.replace(",", "").replace("_", "")) * _SUFFIX[suffix.replace("K", "k")]
