"""Held-out loss and picture gain: whether the model uses the image, or predicts captions without it.

In: samples the model was not trained on. Out: mean loss in nats per supervised token, and the picture gain: the loss with
images exchanged among captions minus the loss with the right ones. A model that ignores images has a gain of 0.

Axes: i samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from genlip.data.packing import packs_by_shape
from genlip.evaluate.aggregators import ratio
from genlip.evaluate.scores import Scores
from genlip.model.pack import Pack, Sample

__all__ = [
    "CaptionModel",
    "HeldOut",
    "deal_images",
    "held_out",
    "held_out_scores",
    "mean_loss",
    "paired_losses",
    "sample_losses",
]


class CaptionModel(Protocol):
    """A model with losses of captions, such as a `GenLIP`."""

    training: bool

    @property
    def device(self) -> torch.device:
        """Of the parameters."""
        ...

    def __call__(self, pack: Pack) -> Tensor:
        """Float[], the summed loss of the supervised tokens."""
        ...

    def token_losses(self, pack: Pack) -> Tensor:
        """Float[t], the loss of every text token in nats; 0 where it is not supervised."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Set the mode."""
        ...

    def eval(self) -> Any:
        """Set evaluation mode."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """Nats per supervised token, with the right images and with exchanged ones."""

    loss: float
    loss_other_image: float

    @property
    def picture_gain(self) -> float:
        """How many nats per token the right image saves."""
        return self.loss_other_image - self.loss


def held_out(
    model: CaptionModel, samples: Sequence[Sample], rows: int = 8192, advance: Callable[[int], None] = lambda done: None
) -> HeldOut:
    """Measure on samples with supervised captions, in packs of about `rows` rows.

    advance  is called with the number of newly finished samples, twice for each: with its image, and with another one
    """
    right = mean_loss(model, samples, rows, advance)
    return HeldOut(right, mean_loss(model, deal_images(samples), rows, advance))


def held_out_scores(losses: np.ndarray) -> dict[str, Scores]:
    """Float64[i 3] of `paired_losses` -> "picture gain" and "loss" as scores, in nats per supervised token."""
    right, other, tokens = losses.T
    return {
        "picture gain": Scores(np.stack([other - right, tokens], axis=1), ratio),
        "loss": Scores(np.stack([right, tokens], axis=1), ratio),
    }


def paired_losses(model: CaptionModel, samples: Sequence[Sample], rows: int = 8192) -> np.ndarray:
    """Float64[i 3]: the loss of each sample with its image, the one with another image, and its supervised tokens.

    Losses are sums over the sample's supervised tokens, in nats. Raises ValueError for fewer than two samples.
    """
    dealt = deal_images(samples)
    right = sample_losses(model, samples, rows)
    return np.stack([right[:, 0], sample_losses(model, dealt, rows)[:, 0], right[:, 1]], axis=1)


def deal_images(samples: Sequence[Sample], seed: int = 0) -> list[Sample]:
    """The same captions, each with the image of another sample; the same seed deals the same way."""
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} held-out samples: dealing images to other captions needs at least 2")
    ring = np.random.default_rng(seed).permutation(len(samples))
    dealt = list(samples)
    for here, other in zip(ring, np.roll(ring, 1), strict=True):
        dealt[here] = replace(samples[here], patches=samples[other].patches, grid=samples[other].grid)
    return dealt


@torch.inference_mode()
def mean_loss(
    model: CaptionModel, samples: Sequence[Sample], rows: int = 8192, advance: Callable[[int], None] = lambda done: None
) -> float:
    """Loss over all supervised tokens divided by their number, in nats per token."""
    total, tokens, was_training = 0.0, 0, model.training
    model.eval()
    for chosen in packs_by_shape(samples, rows):
        pack = Pack.of([samples[i] for i in chosen]).to(model.device)
        total += float(model(pack))
        tokens += int(pack.supervised.sum())
        advance(len(chosen))
    model.train(was_training)
    return total / max(1, tokens)


@torch.inference_mode()
def sample_losses(model: CaptionModel, samples: Sequence[Sample], rows: int = 8192) -> np.ndarray:
    """Float64[i 2]: the loss of each sample, summed over its supervised tokens in nats, and how many these are."""
    found, was_training = np.zeros((len(samples), 2)), model.training
    model.eval()
    for chosen in packs_by_shape(samples, rows):
        pack = Pack.of([samples[i] for i in chosen]).to(model.device)
        per_token = torch.stack([model.token_losses(pack).cpu().double(), pack.supervised.cpu().double()])
        found[chosen] = [part.sum(dim=1).tolist() for part in per_token.split(list(pack.text_lengths), dim=1)]
    model.train(was_training)
    return found
