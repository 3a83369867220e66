"""Generation: captions token by token, with a key-value cache, for many images at once.

In: a pack of images, each with its own grid and prompt. Out: token ids.
The pack is read once without padding; then each step costs one row per sample, not the whole sequence (`Decoder`).

Axes: s samples, D trunk width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genlip.model.decoder import Decoder
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack

__all__ = ["Decoding", "generate", "generate_steps", "patch_readout", "sample_token"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next token is chosen, and when to stop. The default is greedy, as the paper measures.

    Attributes:
        max_tokens: most tokens per caption.
        end_ids: tokens that end a caption; they are not part of it.
        temperature: 0 takes the most likely token, more is more adventurous.
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


def generate(model: GenLIP, pack: Pack, decoding: Decoding | None = None) -> list[list[int]]:
    """Token ids of a caption for every image of the pack, end tokens left off.

    pack  images, each with its prompt as text (or none: the first token then follows the last patch)
    """
    decoding = decoding or Decoding()
    captions: list[list[int]] = [[] for _ in pack.grids]
    for tokens in generate_steps(model, pack, decoding):
        for caption, token in zip(captions, tokens, strict=True):
            if token is not None:
                caption.append(token)
    return [_without_repeats(caption, decoding.repetition_stop) for caption in captions]


@torch.inference_mode()
def generate_steps(model: GenLIP, pack: Pack, decoding: Decoding) -> Iterator[list[int | None]]:
    """Step by step, the next token of every sample; None once a sample has ended. The tokens of a stream."""
    decoder, pick = Decoder(model, pack, decoding.max_tokens), _picker(decoding, model.device)
    hidden = decoder.first
    captions: list[list[int]] = [[] for _ in pack.grids]
    going = [True] * len(captions)
    for remaining in range(decoding.max_tokens, 0, -1):
        token = pick(model.speak(model.ln_post(hidden)))
        step: list[int | None] = []
        for i, chosen in enumerate(token.tolist()):
            going[i] = going[i] and chosen not in decoding.end_ids
            step.append(chosen if going[i] else None)
            if going[i]:
                captions[i].append(chosen)
                going[i] = not _repeats(captions[i], decoding.repetition_stop)
        if any(chosen is not None for chosen in step):
            yield step
        if not any(going) or remaining == 1:
            return
        hidden = decoder.step(token)


def _picker(decoding: Decoding, device: torch.device) -> Callable[[Tensor], Tensor]:
    generator = torch.Generator(device).manual_seed(decoding.seed)
    return lambda logits: sample_token(logits, decoding.temperature, decoding.top_k, decoding.top_p, generator)


def sample_token(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Float[s V] -> Int64[s], the next token of each sample; see `Decoding`. The most likely token is never excluded."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    ordered, token = (logits.float() / temperature).sort(dim=-1, descending=True)
    before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
    excluded = before >= top_p
    if top_k:
        excluded[:, top_k:] = True
    excluded[:, 0] = False
    chance = ordered.masked_fill(excluded, -torch.inf).softmax(dim=-1)
    return token.gather(1, torch.multinomial(chance, 1, generator=generator)).squeeze(1)


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


@torch.inference_mode()
def patch_readout(model: GenLIP, pack: Pack, k: int = 5) -> tuple[Tensor, Tensor]:
    """What every patch would say: its `ln_post` feature through the language head (the paper's patch semantics readout).

    Returns Float[p k] probabilities, most likely first, and Int64[p k] token ids.
    """
    if not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k is {k}: need between 1 and the vocabulary's {model.config.vocab_size} tokens")
    logits = (model.speak(rows).float().softmax(dim=-1).topk(k) for rows in model.encode(pack).split(256))
    chances, tokens = zip(*logits, strict=True)
    return torch.cat(chances), torch.cat(tokens)
