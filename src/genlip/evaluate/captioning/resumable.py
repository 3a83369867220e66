"""Told captions: what a model says about many examples of a source, with all their true captions, stopped or not.

In: a speaker, a source, and which of its examples. Out: texts alone, so that thousands of images need not be held. What was
said is kept as it comes, so that a stopped measurement goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from genlip.data.examples import Example, Unusable
from genlip.data.sources import Source
from genlip.evaluate.captioning.generated import references, speak_about
from genlip.evaluate.captioning.partial_results import Unfinished
from genlip.model.decoding import Decoding
from genlip.speaker import Speaker

__all__ = ["Told", "captions_digest", "told_captions"]

log = logging.getLogger(__name__)


class Told(NamedTuple):
    """An example's number in the source, its key, its true captions (at least one), and what was said."""

    number: int
    key: str
    references: list[str]
    spoken: str

    @property
    def exact(self) -> bool:
        """Whether one of the true captions was said; white space around them does not count."""
        return self.spoken.strip() in {text.strip() for text in self.references}


def told_captions(
    speaker: Speaker,
    source: Source,
    indices: Sequence[int],
    decoding: Decoding,
    unfinished: Unfinished,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Told]:
    """Caption these examples, in order, but for those of which `unfinished` knows; it hears of each batch.

    An example without an image or a true caption is skipped and named in the log. Raises ValueError if none is left.
    """
    left = [index for index in indices if index not in unfinished.entries]
    if len(left) < len(indices):
        log.info("%d of %d captions were spoken before", len(indices) - len(left), len(indices))
        advance(len(indices) - len(left))
    for start in range(0, len(left), batch_size):
        some = left[start : start + batch_size]
        spoken = speak_about(speaker, source, some, captioned=True, **dataclasses.asdict(decoding))
        unfinished.add(zip(some, map(_entry, spoken), strict=True))
        advance(len(some))
    entries = [(index, unfinished.entries[index]) for index in indices]
    told = [Told(index, *entry["said"]) for index, entry in entries if "said" in entry]
    if not told:
        raise ValueError(_nothing(source, [entry["skipped"] for _, entry in entries]))
    return told


def captions_digest(source: Source, indices: Sequence[int]) -> str:
    """Of the true captions of these examples: other fields of the same files give another one, and another measurement."""
    found = hashlib.sha256()
    for index in indices:
        some: list[str] = []
        with suppress(Unusable):
            some = references(source.caption(index))
        found.update(json.dumps(some).encode())
    return found.hexdigest()[:8]


def _entry(one: tuple[Example, str] | Unusable) -> dict[str, Any]:
    if isinstance(one, Unusable):
        return {"skipped": one.reason}
    example, text = one
    return {"said": [example.key, references(example.caption), text]}


def _nothing(source: Source, reasons: Sequence[str]) -> str:
    """Why there is nothing to score."""
    if set(reasons) == {"no caption"}:
        return (
            f"{source.name}: captions without references: none of {len(reasons)} examples has a true caption to compare "
            "with; name the field that holds them, or a source with captions"
        )
    counted = ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))
    return f"{source.name}: none of {len(reasons)} examples can be used ({counted}); the log names each"
