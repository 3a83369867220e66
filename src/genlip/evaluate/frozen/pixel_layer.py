"""Pixel layer: linear layers that learn the class of each pixel from frozen features of patches.

In: features and label maps of a set. Out: a layer for each learning rate, all trained side by side on the same batches.
Features are standardised first, channel by channel, by the mean and deviation of the patches that are learned from. That is
what the BatchNorm of usual linear segmentation probes comes to, but it does not depend on the batches. What remains is
convex, so layers start from zeros: AdamW, a short linear warm-up, then a cosine to 0.

Axes: p patches of some images, D trunk width, H W pixels of a label map, c classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from genlip.data.sets.base import IGNORED, SegmentedSet
from genlip.evaluate.frozen.features import FrozenFeatures
from genlip.evaluate.frozen.pixel_classes import Size, backward, overlap

__all__ = ["FeatureMaps", "PixelBatch", "Standard", "learn"]

_WARM_UP = 0.05  # of all steps
_DECAY = 1e-4


class Standard(NamedTuple):
    """Float32[D] what is taken off each channel of features, and what it is then multiplied with."""

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: FrozenFeatures, some: Sequence[int]) -> Standard:
        """Over the patches of these images. A channel that is constant tells nothing, and becomes 0."""
        sums, patches = torch.zeros(2, features.rows.shape[1], dtype=torch.float64), 0
        for i in some:
            rows = features[i].double()
            sums += torch.stack([rows.sum(dim=0), rows.square().sum(dim=0)])
            patches += len(rows)
        mean, square = sums / patches
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        return cls(mean.float(), torch.where(deviation > 1e-6, 1 / deviation, 0.0).float())


class PixelBatch(NamedTuple):
    """Float32[p D] standardised features of some images, the grid of each, and Int64[H W], its label map."""

    features: Tensor
    grids: list[Size]
    labels: list[Tensor]


@dataclass(frozen=True)
class FeatureMaps:
    """A set beside its features. Label maps are read again for each batch: those of a whole set may be gigabytes.

    Attributes:
        data: the set.
        features: of the images of the set that can be used; a place is one among these.
        standard: of the images that are learned from, whatever set this is.
        device: of what is read.
    """

    data: SegmentedSet
    features: FrozenFeatures
    standard: Standard
    device: torch.device

    def read(self, some: Sequence[int]) -> PixelBatch:
        """The batch of the images at these places. Raises ValueError for a label that is no class, and as the set does."""
        rows = torch.cat([self.features[i] for i in some])
        features = (rows - self.standard.shift) * self.standard.scale
        grids = [(int(rows), int(columns)) for rows, columns in self.features.grids[list(some)]]
        return PixelBatch(features.to(self.device), grids, [self._labels(i) for i in some])

    def _labels(self, place: int) -> Tensor:
        index = int(self.features.indices[place])
        key, _, labels = self.data[index]
        if key != self.features.keys[place]:
            raise ValueError(
                f"{self.data.name}: image {index} is {key!r}, and the features that were kept are of "
                f"{self.features.keys[place]!r}: the set has changed; remove the folder of features"
            )
        classes = len(self.data.classes)
        if labels.size and not IGNORED <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"{self.data.name}: {key} has labels from {labels.min()} to {labels.max()}: need 0 to {classes - 1}, the "
                f"{classes} classes, or {IGNORED} where a pixel has none"
            )
        return torch.from_numpy(labels.astype(np.int64)).to(self.device)


def learn(
    images: FeatureMaps,
    some: Sequence[int],
    rates: Sequence[float],
    epochs: int,
    batch: int,
    seed: int,
    advance: Callable[[int], None],
) -> tuple[list[nn.Linear], np.ndarray]:
    """A trained layer for each rate, and Int64[c], how many pixels of each class were there to learn from.

    some     places of the images to learn from
    rates    peaks of the learning rate
    advance  hears of images learned, each once per epoch
    """
    classes = len(images.data.classes)
    layers = [_layer(images.features.rows.shape[1], classes, images.device) for _ in rates]
    optimizers = [AdamW(layer.parameters(), lr=0.0, weight_decay=_DECAY) for layer in layers]
    draw, pixels = np.random.default_rng(seed), np.zeros(classes, dtype=np.int64)
    starts = range(0, len(some), batch)
    for epoch in range(epochs):
        order = draw.permutation(some).tolist()
        for step, start in enumerate(starts, start=1):
            seen = images.read(order[start : start + batch])
            height = _schedule((epoch * len(starts) + step) / (epochs * len(starts)))
            for layer, optimizer, rate in zip(layers, optimizers, rates, strict=True):
                optimizer.param_groups[0]["lr"] = rate * height
                _update(layer, optimizer, seen)
            if epoch == 0:
                pixels += sum(overlap(one, one, classes)[:classes].astype(np.int64) for one in seen.labels)
            advance(len(seen.labels))
    return layers, pixels


def _layer(width: int, classes: int, device: torch.device) -> nn.Linear:
    layer = nn.Linear(width, classes, device=device)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _schedule(progress: float) -> float:
    """The share of the peak rate at a `progress` in (0, 1]: linear up to 1, then a cosine to 0."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2


@torch.enable_grad()
def _update(layer: nn.Linear, optimizer: AdamW, seen: PixelBatch) -> None:
    optimizer.zero_grad()
    backward(layer(seen.features), seen.grids, seen.labels)
    optimizer.step()
