"""Sweep: heads of several learning rates, trained side by side on frozen features; validation images choose among them.

In: labelled features. Out: the head of the best rate, and how every rate did. All heads start from the same parameters and
read the same batches, so that only the rate differs. The rate is chosen on training images that no head is trained on; the
test set is not used for it.

Axes: i images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.evaluate.frozen.head_training import HeadConfig, scheduled, split_for_validation
from genlip.evaluate.probe.pooling import Pooling, ProbeHead
from genlip.evaluate.probe.probe_data import ProbeInputs, in_batches

__all__ = ["ProbeConfig", "Rate", "Sweep", "logits", "sweep", "train_heads"]


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(HeadConfig):
    """How the heads of a probe are trained.

    Attributes:
        pooling: "attentive" for attention pooling with one learned query, "mean" for a linear classifier of the mean patch.
        weight_decay: of every parameter.
        epochs, batch_size, learning_rates, validation, seed: see `HeadConfig`.
    """

    epochs: int = 20
    batch_size: int = 256
    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    pooling: Pooling = "attentive"
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if self.pooling not in ("attentive", "mean"):
            raise ValueError(f"pooling is {self.pooling!r}: need 'attentive' or 'mean'")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}: it must be at least 0")
        super().__post_init__()


@dataclass(frozen=True)
class Rate:
    """How one learning rate did.

    Attributes:
        learning_rate: its peak.
        losses: mean training loss of each epoch, in nats.
        accuracy: share of right answers on the held-out images; None where there are none.
        loss: in nats, on the held-out images.
    """

    learning_rate: float
    losses: list[float]
    accuracy: float | None = None
    loss: float | None = None


@dataclass(frozen=True, eq=False)
class Sweep:
    """All rates in the order given, the place of the best, its head, and how many images were learned and held out."""

    rates: list[Rate]
    best: int
    head: ProbeHead
    learned: int
    held_out: int


def sweep(
    inputs: ProbeInputs,
    classes: int,
    heads: int,
    config: ProbeConfig,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[Sweep, ProbeInputs]:
    """Train a head per rate and keep the one most often right on held-out images; also the inputs, standardised as it reads.

    classes  C
    heads    of attentive pooling
    advance  is called with the number of images just trained on, each once per epoch

    Raises ValueError where the held-out images leave none to learn from, and where all rates diverge.
    """
    learn, hold = split_for_validation(len(inputs), config.validation, config.seed)
    inputs = inputs.standardised(learn, config.batch_size)
    pool = heads if config.pooling == "attentive" else None
    trained = [ProbeHead(inputs.features.width, classes, pool, config.seed).to(inputs.device) for _ in config.learning_rates]
    losses = train_heads(trained, inputs, learn, config, advance)
    rates = [
        Rate(rate, of_rate, *(_judged(head, inputs, hold, config.batch_size) if len(hold) else ()))
        for rate, of_rate, head in zip(config.learning_rates, losses, trained, strict=True)
    ]
    best = _best(rates)
    if not math.isfinite(rates[best].losses[-1]):
        raise ValueError(f"training diverged at all learning rates of {list(config.learning_rates)}: give smaller ones")
    return Sweep(rates, best, trained[best], len(learn), len(hold)), inputs


def train_heads(
    heads: Sequence[ProbeHead],
    inputs: ProbeInputs,
    some: np.ndarray,
    config: ProbeConfig,
    advance: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """Train each head with its rate of `config.learning_rates`; returns each one's mean loss in every epoch.

    The sum of the losses has, for each head, the gradient of its own loss.
    """
    steps = config.epochs * math.ceil(len(some) / config.batch_size)
    optimizer, schedule = scheduled(heads, config.learning_rates, config.weight_decay, steps)
    order = np.random.default_rng(config.seed)
    epochs = []
    for _ in range(config.epochs):
        total = torch.zeros(len(heads), device=inputs.device)
        for chosen in in_batches(order.permutation(some), config.batch_size):
            features, real, labels = inputs.batch(chosen)
            losses = torch.stack([F.cross_entropy(head(features, real), labels) for head in heads])
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            schedule.step()
            total += losses.detach() * len(chosen)
            advance(len(chosen))
        epochs.append((total / len(some)).tolist())
    return [list(of_head) for of_head in zip(*epochs, strict=True)]


@torch.inference_mode()
def logits(head: ProbeHead, inputs: ProbeInputs, some: np.ndarray, batch_size: int) -> Tensor:
    """Float32[i C] of these images, on the CPU."""
    parts = []
    for chosen in in_batches(some, batch_size):
        features, real, _ = inputs.batch(chosen)
        parts.append(head(features, real).cpu())
    return torch.cat(parts)


def _judged(head: ProbeHead, inputs: ProbeInputs, some: np.ndarray, batch_size: int) -> tuple[float, float]:
    """The share of right answers, and the loss; a head that has diverged has an infinite one."""
    found, labels = logits(head, inputs, some, batch_size), inputs.labels[torch.from_numpy(some)]
    loss = float(F.cross_entropy(found, labels).nan_to_num(nan=math.inf))
    return float((found.argmax(dim=1) == labels).double().mean()), loss


def _best(rates: Sequence[Rate]) -> int:
    """The place of the rate with the most right answers, of equal ones the least loss; last those that diverged."""

    def merit(rate: Rate) -> tuple[bool, float, float]:
        loss = rate.loss or 0.0
        return math.isfinite(loss), rate.accuracy or 0.0, -loss

    return max(range(len(rates)), key=lambda place: merit(rates[place]))
