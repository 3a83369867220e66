"""Head training: what classifiers of images and of pixels share, so that the same rules train and choose both.

In: numbers of images, modules, rows of features. Out: which images are trained on and which choose the learning rate; an
optimizer with its schedule; standardised features. Standardising by the training images equals a trained BatchNorm without
parameters, and does not depend on the batches.

Axes: v vectors, D trunk width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["HeadConfig", "Standard", "check_rates", "number_held_out", "scheduled", "share_of_peak", "split_for_validation"]

_WARM_UP = 0.05  # share of the steps
_CONSTANT = 1e-6  # deviation of a channel that counts as constant; it becomes 0


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How heads are trained on frozen features: AdamW, a short warm-up, then a cosine to 0.

    Attributes:
        epochs: passes over the training images.
        batch_size: images of a step.
        learning_rates: peaks, one head each.
        validation: share of the training images that choose the rate; 0 only where there is one rate.
        seed: of parameters, order and validation images.
    """

    epochs: int
    batch_size: int
    learning_rates: Sequence[float]
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs {self.epochs} and batch_size {self.batch_size}: both must be at least 1")
        check_rates(self.learning_rates, self.validation)


class Standard(NamedTuple):
    """Float32[D] what is subtracted from each channel of features, and what the difference is multiplied by."""

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, parts: Iterable[Tensor]) -> Standard:
        """A mean of 0 and a deviation of 1 in each channel, over all vectors of at least one Float[v D]."""
        count, total, squares = 0, torch.tensor(0.0), torch.tensor(0.0)
        for part in parts:
            rows = part.double()
            count, total, squares = count + len(rows), total + rows.sum(dim=0), squares + rows.square().sum(dim=0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        return cls(mean.float(), torch.where(deviation > _CONSTANT, 1 / deviation, 0.0).float())

    def to(self, device: torch.device) -> Standard:
        """The same on a device."""
        return Standard(self.shift.to(device), self.scale.to(device))

    def of_rows(self, rows: Tensor) -> Tensor:
        """Float32[... D] -> Float32[... D], standardised."""
        return (rows - self.shift) * self.scale


def check_rates(learning_rates: Sequence[float], validation: float) -> None:
    """Raise ValueError unless there are rates, all above 0, and validation images where there are several."""
    if not learning_rates or not all(0 < rate < math.inf for rate in learning_rates):
        raise ValueError(f"learning_rates are {list(learning_rates)}: need at least one, all above 0")
    if not 0 <= validation < 1 or (validation == 0 and len(learning_rates) > 1):
        raise ValueError(
            f"validation is {validation}: need a share of the training images below 1, and above 0 to choose among "
            f"{len(learning_rates)} learning rates"
        )


def number_held_out(images: int, validation: float) -> int:
    """Validation images among so many training images: the share, rounded, and at least one unless the share is 0."""
    return max(1, round(validation * images)) if validation else 0


def split_for_validation(images: int, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images to train on, and of those that choose the rate. Raises ValueError if none is left to train."""
    held = number_held_out(images, validation)
    if held >= images:
        raise ValueError(
            f"{images} training images, of which validation {validation} holds out {held}: none is left to learn from; "
            "give more images, or one learning rate and validation 0"
        )
    order = np.random.default_rng((seed, 1)).permutation(images)
    return order[held:], order[:held]


def scheduled(modules: Sequence[nn.Module], rates: Sequence[float], decay: float, steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW with the peak rate of each module, and the schedule of all, which steps after it."""
    groups = [{"params": list(one.parameters()), "lr": rate} for one, rate in zip(modules, rates, strict=True)]
    optimizer = AdamW(groups, weight_decay=decay)
    return optimizer, LambdaLR(optimizer, partial(share_of_peak, steps=steps))


def share_of_peak(step: int, steps: int) -> float:
    """Of the rate, at a step from 0: a short linear warm-up, then a cosine that would reach 0 one step after the last."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
