"""Generated tokens: what `generate` of Transformers makes, one token after another while it runs.

In: a model and the inputs of one sample. Out: an iterator of token ids. `generate` runs in a thread of its own, which ends
with the iterator, also if the reader stops early.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import torch
from torch import Tensor

__all__ = ["generated_tokens", "seeded"]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's random numbers from this seed on; the state that was there before returns at the end."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def generated_tokens(model: Any, inputs: Any, config: Any, seed: int) -> Iterator[int]:
    """Ids of the new tokens, the end token too. Errors of `generate` are raised here.

    inputs  of the model, a batch of one
    config  a GenerationConfig
    """
    found, stop = SimpleQueue[Any](), Event()

    def stopped(ids: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.full((len(ids),), stop.is_set(), device=ids.device)

    def run() -> None:
        try:
            with seeded(seed, model.device):
                model.generate(**inputs, generation_config=config, streamer=_Listener(found), stopping_criteria=[stopped])
        except BaseException as error:  # raised again by the reader
            found.put(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while (token := found.get()) is not None:
            if isinstance(token, BaseException):
                raise token
            yield token
    finally:
        stop.set()
        thread.join()


class _Listener:
    """A streamer of Transformers: it is given the prompt, then each token, then the end."""

    def __init__(self, found: SimpleQueue[Any]) -> None:
        self._found, self._heard_prompt = found, False

    def put(self, value: Tensor) -> None:
        """Pass new tokens on."""
        if self._heard_prompt:
            for token in value.flatten().tolist():
                self._found.put(token)
        self._heard_prompt = True

    def end(self) -> None:
        """Pass the end on."""
        self._found.put(None)
