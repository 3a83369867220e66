"""A model that answers as a function says, and sets of questions in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image

from genlip.data.dialogues.dialogue import Dialogue
from genlip.data.dialogues.question import Question
from genlip.data.examples import Unusable

__all__ = ["InMemoryQuestions", "Standin", "coloured"]


@dataclass
class Standin:
    """Answers each dialogue by `say`, and remembers what it was asked, batch by batch."""

    say: Callable[[Dialogue], str]
    weights: str = "some weights"
    name: str = "standin"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    asked: list[list[Dialogue]] = field(default_factory=list)
    decoding: list[dict[str, Any]] = field(default_factory=list)

    def image_settings(self) -> dict[str, Any]:
        return {"resize": "fixed", "size": 32}

    def fingerprint(self) -> str:
        return self.weights

    def answer(self, dialogues: Sequence[Dialogue], batch_size: int = 8, **decoding: Any) -> list[str]:
        self.asked.append(list(dialogues))
        self.decoding.append({"batch_size": batch_size, **decoding})
        return [self.say(one) for one in dialogues]

    @property
    def keys(self) -> list[list[str]]:
        """Keys of the dialogues, batch by batch."""
        return [[one.key for one in batch] for batch in self.asked]


@dataclass(frozen=True)
class InMemoryQuestions:
    """Questions with their images; a text in their place is a reason why one cannot be used."""

    questions: Sequence[Question | str]
    name: str = "memory:1"

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Question:
        one = self.questions[index]
        if isinstance(one, str):
            raise Unusable(one, f"question {index}: {one}")
        return one

    def text(self, index: int) -> Question:
        return replace(self[index], images=())


def coloured(number: int) -> Image.Image:
    """An image whose colour tells its number."""
    return Image.new("RGB", (12, 8), (number, 100, 200))
