"""Linear head: linear layers that predict the class of each pixel from frozen features of patches.

In: features and label maps of a set. Out: a layer for each learning rate, all trained side by side on the same batches.
Features are first standardised in each channel, over the training patches, where usual linear segmentation probes have a
BatchNorm. The remaining problem is convex, so layers start from zeros.

Axes: p patches of some images, D trunk width, H W pixels of a label map, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from genlip.data.datasets.base import IGNORED, SegmentedSet
from genlip.evaluate.frozen.features import FrozenFeatures
from genlip.evaluate.frozen.head_training import Standard, scheduled
from genlip.evaluate.segmentation.pixel_loss import Size, backward, overlap

__all__ = ["FeatureMaps", "PixelBatch", "learn"]

_DECAY = 1e-4


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
        features: of the images of the set that can be used; places below are numbers of these images.
        standard: of the training images, also where this is the test set.
        device: of the batches.
    """

    data: SegmentedSet
    features: FrozenFeatures
    standard: Standard
    device: torch.device

    def read(self, some: Sequence[int]) -> PixelBatch:
        """The batch of the images at these places. Raises ValueError for a label that is no class, and as the set does."""
        rows = torch.cat([self.features[i] for i in some])
        features = self.standard.of_rows(rows).to(self.device)
        grids = [(int(rows), int(columns)) for rows, columns in self.features.grids[list(some)]]
        return PixelBatch(features, grids, [self._labels(i) for i in some])

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


@torch.enable_grad()
def learn(
    images: FeatureMaps,
    some: Sequence[int],
    rates: Sequence[float],
    epochs: int,
    batch_size: int,
    seed: int,
    advance: Callable[[int], None],
) -> tuple[list[nn.Linear], np.ndarray]:
    """A trained layer for each rate, and Int64[c], the training pixels of each class.

    some     places of the images to train on
    rates    peaks of the learning rate
    advance  is called with the number of images just trained on, each once per epoch
    """
    classes = len(images.data.classes)
    layers = [_layer(images.features.rows.shape[1], classes, images.device) for _ in rates]
    draw, pixels = np.random.default_rng(seed), np.zeros(classes, dtype=np.int64)
    starts = range(0, len(some), batch_size)
    optimizer, schedule = scheduled(layers, rates, _DECAY, epochs * len(starts))
    for epoch in range(epochs):
        order = draw.permutation(some).tolist()
        for start in starts:
            seen = images.read(order[start : start + batch_size])
            optimizer.zero_grad()
            for layer in layers:
                backward(layer(seen.features), seen.grids, seen.labels)
            optimizer.step()
            schedule.step()
            if epoch == 0:
                pixels += sum(overlap(one, one, classes)[:classes].astype(np.int64) for one in seen.labels)
            advance(len(seen.labels))
    return layers, pixels


def _layer(width: int, classes: int, device: torch.device) -> nn.Linear:
    layer = nn.Linear(width, classes, device=device)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
