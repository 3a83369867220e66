"""Procedural sources: captioned images that are drawn when they are asked for, as many as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image

from genlip.data.examples import Caption, Example, short_repr
from genlip.data.sources.conversations import IMAGE_MARK
from genlip.data.sources.fields import CaptionFields
from genlip.synthetic import bars, charts, closeups, documents, notes, scenes

__all__ = ["KINDS", "Kind", "Procedural", "is_procedural"]


class Kind(NamedTuple):
    """How a kind of image is made: content of image (seed, index), its drawing, its caption, and questions with answers."""

    content: Callable[[int, int], Any]
    draw: Callable[[Any], Image.Image]
    describe: Callable[[Any], str]
    questions: Callable[[Any], tuple[tuple[str, str], ...]] | None = None


KINDS = {
    "scenes": Kind(scenes.scene, scenes.draw, scenes.describe, scenes.questions),
    "documents": Kind(documents.document, documents.draw, documents.describe, documents.questions),
    "charts": Kind(charts.chart, charts.draw, charts.describe, charts.questions),
    "notes": Kind(notes.note, notes.draw, notes.describe),
    "bars": Kind(bars.bars, bars.draw, bars.describe),
    "closeups": Kind(closeups.closeup, closeups.draw, closeups.describe),
}


@dataclass(frozen=True, repr=False)
class Procedural:
    """Images of one of `KINDS`; example i is a function of (kind, seed, i).

    Attributes:
        fields: "caption" states the whole content; "conversations", for scenes, documents and charts, has questions and
            answers.
    """

    kind: str
    seed: int = 0
    length: int = 1_000_000
    fields: CaptionFields = field(default_factory=lambda: CaptionFields({"caption": 1.0}))

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.seed < 0:
            raise ValueError(f"{self.name}: need a kind out of {', '.join(KINDS)}, and a seed from 0")
        known = ["caption", "conversations"] if KINDS[self.kind].questions else ["caption"]
        if unknown := set(self.fields.chances) - set(known):
            raise ValueError(f"{self.name}: no field {', '.join(sorted(unknown))}; need {' or '.join(known)}")

    @classmethod
    def open(cls, spec: str, fields: str = "") -> Procedural:
        """From a name as in "scenes" or "charts:7"; `fields` as in `CaptionFields.parse`. Raises ValueError."""
        kind, _, seed = spec.partition(":")
        if seed and not seed.isdecimal():
            raise ValueError(f"{spec}: the seed of {kind} is {seed!r}; need a whole number from 0, as in '{kind}:7'")
        return cls(kind, int(seed or 0), fields=CaptionFields.parse(fields.strip(", ") or "caption"))

    @property
    def name(self) -> str:
        """As `open_source` takes it."""
        return f"{self.kind}:{self.seed}"

    __repr__ = short_repr

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        content = self._content(index)
        return Example(f"{self.name}:{index}", KINDS[self.kind].draw(content), self._caption(content))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        return self._caption(self._content(index))

    def _content(self, index: int) -> Any:
        if not 0 <= index < self.length:  # this also ends a `for` loop over them
            raise IndexError(f"{self.name}: image {index} of {self.length}")
        return KINDS[self.kind].content(self.seed, index)

    def _caption(self, content: Any) -> Caption:
        kind, record = KINDS[self.kind], dict[str, Any]()
        if "caption" in self.fields.chances:
            record["caption"] = kind.describe(content)
        if "conversations" in self.fields.chances and kind.questions:
            record["conversations"] = _conversation(kind.questions(content))
        return self.fields.read(record)


def is_procedural(spec: str) -> bool:
    """Whether a name is that of a kind, with or without a seed."""
    return spec.partition(":")[0] in KINDS


def _conversation(questions: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    """Questions and answers in a published form of conversations."""
    said = [entry for question, answer in questions for entry in (("human", question), ("gpt", answer))]
    messages = [{"from": who, "value": text} for who, text in said]
    if messages:
        messages[0]["value"] = f"{IMAGE_MARK}\n{messages[0]['value']}"
    return messages
