"""Decoding: how tokens are chosen and when captions end.

In: settings, then the tokens of one step after another. Out: which of them still belong to captions. There is no tensor
here: generation with PyTorch and with ONNX Runtime, which runs without PyTorch, share these rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Decoding", "Spoken"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next token is chosen, and when to stop. The default is greedy, as the paper measures.

    Attributes:
        max_tokens: most tokens per caption.
        end_ids: tokens that end a caption; they are not part of it.
        temperature: 0 takes the most likely token; a higher one makes the choice more random.
        top_k: sample among the k most likely tokens; 0 for all.
        top_p: sample among the most likely tokens that together have this probability, in (0, 1].
        repetition_stop: end a caption once its tail repeats one phrase of up to 16 tokens this many times in a row, and
            keep a single one of them; 0 never does. Must not be 1.
        seed: of the sampling; the same seed gives the same captions.
    """

    max_tokens: int = 256
    end_ids: tuple[int, ...] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_stop: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"cannot decode with max_tokens {self.max_tokens} (at least 1), temperature {self.temperature} "
                f"(at least 0), top_k {self.top_k} (at least 0), top_p {self.top_p} (above 0, at most 1)"
            )
        if self.repetition_stop < 0 or self.repetition_stop == 1:
            raise ValueError(f"repetition_stop is {self.repetition_stop}: use 0 for never, or at least 2")


class Spoken:
    """Captions during generation: collects the tokens of each step and tells when all captions have ended."""

    def __init__(self, captions: int, decoding: Decoding) -> None:
        self._decoding = decoding
        self._tokens: list[list[int]] = [[] for _ in range(captions)]
        self._going = [True] * captions

    @property
    def over(self) -> bool:
        """Whether every caption has ended."""
        return not any(self._going)

    def take(self, chosen: Sequence[int]) -> list[int | None]:
        """The step's token of every caption, None once it has ended."""
        step: list[int | None] = []
        for i, token in enumerate(chosen):
            goes = self._going[i] and token not in self._decoding.end_ids
            step.append(token if goes else None)
            if goes:
                self._tokens[i].append(token)
            self._going[i] = goes and not _repeats(self._tokens[i], self._decoding.repetition_stop)
        return step

    def captions(self) -> list[list[int]]:
        """The tokens of every caption so far; of a phrase that `repetition_stop` found repeated, one is kept."""
        return [_without_repeats(tokens, self._decoding.repetition_stop) for tokens in self._tokens]


def _repeats(tokens: Sequence[int], times: int, longest: int = 16) -> int:
    """Length of the shortest phrase that the tail repeats `times` times in a row; 0 if none does."""
    if times < 2:
        return 0
    for size in range(1, min(longest, len(tokens) // times) + 1):
        phrase = list(tokens[-size:])
        if list(tokens[-size * times :]) == phrase * times:
            return size
    return 0


def _without_repeats(tokens: list[int], times: int) -> list[int]:
    size = _repeats(tokens, times)
    return tokens[: len(tokens) - size * (times - 1)] if size else tokens
