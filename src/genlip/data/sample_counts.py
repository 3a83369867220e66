"""Sample counts: how many samples a run has used, and how many it could not use, by source and reason.

In: batches. Out: counts, which are stored with a checkpoint, and a text of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genlip.data.packing import Batch

__all__ = ["SampleCounts", "SkippedTooMany"]


class SkippedTooMany(ValueError):
    """The share of samples that could not be used is above the limit."""


@dataclass
class SampleCounts:
    """Counts of samples.

    Attributes:
        used: number of packed samples, by source.
        skipped: number of samples that could not be used, by (source, reason).
        squeezed: number of used images whose aspect ratio was changed.
    """

    used: Counter[str] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    squeezed: int = 0

    def add(self, batches: Iterable[Batch]) -> None:
        """Count the samples of batches."""
        for batch in batches:
            self.used.update(batch.sources)
            self.skipped.update((skip.source, skip.reason) for skip in batch.skipped)
            self.squeezed += batch.squeezed

    def __add__(self, other: SampleCounts) -> SampleCounts:
        """The sum of both, for example of several ranks."""
        return SampleCounts(self.used + other.used, self.skipped + other.skipped, self.squeezed + other.squeezed)

    @property
    def seen(self) -> int:
        """All samples, used or not."""
        return self.used.total() + self.skipped.total()

    def check(self, limit: float, examples: int, waiting: int = 0) -> None:
        """Raise `SkippedTooMany` if more than this share could not be used, or none of all `examples` of the source.

        `waiting` samples were read and can be used, but are not packed yet.

        Below 100 samples, the share is taken of 100: one broken file among the first ten does not stop the run. One skipped
        sample is always allowed, unless the limit is 0.
        """
        lost, read = self.skipped.total(), self.seen + waiting
        nothing = lost >= examples and not self.used
        if nothing or lost > (max(limit * max(read, 100), 1) if limit else 0):
            raise SkippedTooMany(
                f"{lost} of {read} samples could not be used ({self.words()}); see log.jsonl, or raise --max_skipped"
            )

    def words(self) -> str:
        """The skipped samples by reason, most frequent first; also by source if there are several."""
        several = len({*self.used, *(source for source, _ in self.skipped)}) > 1
        named = ((f"{reason} in {source}" if several else reason, n) for (source, reason), n in self.skipped.most_common())
        return ", ".join(f"{n} {what}" for what, n in named)

    def to_json(self) -> dict[str, Any]:
        """The counts as a JSON object."""
        skipped: dict[str, dict[str, int]] = {}
        for (source, reason), number in self.skipped.items():
            skipped.setdefault(source, {})[reason] = number
        return {"used": dict(self.used), "skipped": skipped, "squeezed": self.squeezed}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SampleCounts:
        """The counts from the object of `to_json`."""
        skipped = {(s, reason): n for s, reasons in stored["skipped"].items() for reason, n in reasons.items()}
        return cls(Counter(stored["used"]), Counter(skipped), stored["squeezed"])
