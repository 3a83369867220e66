"""Generation: captions token by token, with a KV cache, for many images at once.

In: a pack of images, each with its own grid and prompt. Out: token ids.
The pack is read once, without padding. Then each step computes one row per sample, not the whole sequence (`Decoder`).

Axes: s samples, D trunk width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genlip.model.decoder import Decoder
from genlip.model.decoding import Decoding, Spoken
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack

__all__ = ["Decoding", "generate", "generate_steps", "patch_readout", "sample_token"]


def generate(model: GenLIP, pack: Pack, decoding: Decoding | None = None) -> list[list[int]]:
    """Token ids of a caption for every image of the pack, end tokens left off.

    pack  images, each with its prompt as text (or none: the first token then follows the last patch)
    """
    decoding = decoding or Decoding()
    spoken = Spoken(len(pack.grids), decoding)
    for _ in _steps(model, pack, decoding, spoken):
        pass
    return spoken.captions()


def generate_steps(model: GenLIP, pack: Pack, decoding: Decoding) -> Iterator[list[int | None]]:
    """Yields the next token of every sample, step by step; None once a sample has ended. For streaming."""
    return _steps(model, pack, decoding, Spoken(len(pack.grids), decoding))


@torch.inference_mode()
def _steps(model: GenLIP, pack: Pack, decoding: Decoding, spoken: Spoken) -> Iterator[list[int | None]]:
    decoder, pick = Decoder(model, pack, decoding.max_tokens), _picker(decoding, model.device)
    hidden = decoder.first
    for remaining in range(decoding.max_tokens, 0, -1):
        token = pick(model.speak(model.ln_post(hidden)))
        step = spoken.take(token.tolist())
        if any(chosen is not None for chosen in step):
            yield step
        if spoken.over or remaining == 1:
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


@torch.inference_mode()
def patch_readout(model: GenLIP, pack: Pack, k: int = 5) -> tuple[Tensor, Tensor]:
    """The most likely tokens of every patch: its `ln_post` feature through the language head (the paper's patch readout).

    Returns Float[p k] probabilities, most likely first, and Int64[p k] token ids. Raises ValueError for k outside [1, V].
    """
    if not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k is {k}: need between 1 and the vocabulary's {model.config.vocab_size} tokens")
    logits = (model.speak(rows).float().softmax(dim=-1).topk(k) for rows in model.encode(pack).split(256))
    chances, tokens = zip(*logits, strict=True)
    return torch.cat(chances), torch.cat(tokens)
