"""Held-out loss and picture gain: does the model use the image, or only know how captions go?

In: samples the model was not trained on. Out: mean loss in nats per supervised token, and the picture gain: the loss with
images dealt to other captions minus the loss with the right ones. A model that ignores images has a gain of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from genlip.data.packing import by_shape
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

__all__ = ["HeldOut", "deal_images", "held_out", "mean_loss"]


@dataclass(frozen=True)
class HeldOut:
    """Nats per supervised token, with the right images and with dealt ones."""

    loss: float
    loss_other_image: float

    @property
    def picture_gain(self) -> float:
        """How many nats per token the right image saves."""
        return self.loss_other_image - self.loss


def held_out(
    model: GenLIP, samples: Sequence[Sample], rows: int = 8192, advance: Callable[[int], None] = lambda done: None
) -> HeldOut:
    """Measure on samples with supervised captions, in packs of about `rows` rows; `advance` hears of finished samples."""
    right = mean_loss(model, samples, rows, advance)
    return HeldOut(right, mean_loss(model, deal_images(samples), rows, advance))


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
    model: GenLIP, samples: Sequence[Sample], rows: int = 8192, advance: Callable[[int], None] = lambda done: None
) -> float:
    """Loss over all supervised tokens divided by their number, in nats per token."""
    total, tokens, was_training = 0.0, 0, model.training
    model.eval()
    for chosen in _packs(samples, rows):
        pack = Pack.of(chosen).to(model.device)
        total += float(model(pack))
        tokens += int(pack.supervised.sum())
        advance(len(chosen))
    model.train(was_training)
    return total / max(1, tokens)


def _packs(samples: Sequence[Sample], rows: int) -> list[list[Sample]]:
    """Samples in order of shape, cut where a pack would pass `rows`."""
    packs: list[list[Sample]] = [[]]
    used = 0
    for i in by_shape(samples):
        size = len(samples[i].patches) + len(samples[i].token_ids)
        if packs[-1] and used + size > rows:
            packs.append([])
            used = 0
        packs[-1].append(samples[i])
        used += size
    return packs
