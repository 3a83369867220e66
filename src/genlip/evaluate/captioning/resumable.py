"""Resumable captions: many captions, stored as they are generated, so that a stopped measurement goes on.

In: a speaker, a source, and which of its examples. Out: texts without images, so that thousands fit in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypedDict

from genlip.data.examples import Example, Unusable
from genlip.data.sources import Source
from genlip.evaluate.captioning.generated import GeneratedCaption, references, speak_about
from genlip.evaluate.partial_results import PartialResults
from genlip.model.decoding import Decoding
from genlip.speaker import Speaker

__all__ = ["CaptionEntry", "captions_digest", "resumable_captions"]

log = logging.getLogger(__name__)


class CaptionEntry(TypedDict, total=False):
    """What is stored of an image: its key, its true captions and the generated one; or why it was skipped."""

    said: tuple[str, list[str], str]
    skipped: str


def resumable_captions(
    speaker: Speaker,
    source: Source,
    indices: Sequence[int],
    decoding: Decoding,
    partial: PartialResults,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> list[GeneratedCaption]:
    """Caption these examples, in order; those in `partial` are read from there, and each new batch is added to it.

    An example without an image or a true caption is skipped and named in the log. Raises ValueError if none is left.
    """
    left = [index for index in indices if index not in partial.entries]
    if len(left) < len(indices):
        log.info("%d of %d captions were spoken before", len(indices) - len(left), len(indices))
        advance(len(indices) - len(left))
    for start in range(0, len(left), batch_size):
        some = left[start : start + batch_size]
        spoken = speak_about(speaker, source, some, captioned=True, **dataclasses.asdict(decoding))
        partial.add(zip(some, map(_entry, spoken), strict=True))
        advance(len(some))
    entries = [(index, partial.entries[index]) for index in indices]
    found = []
    for index, entry in entries:
        if "said" in entry:
            key, true, text = entry["said"]
            found.append(GeneratedCaption(key, None, true[0], text, true, index))
    if not found:
        raise ValueError(_nothing(source, [entry["skipped"] for _, entry in entries]))
    return found


def captions_digest(source: Source, indices: Sequence[int]) -> str:
    """8 hexadecimal digits of the true captions of these examples; they change if captions come from another field."""
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
