"""Probe inputs: standardised frozen features with labels, pooled beforehand where pooling is "mean".

In: features on disk. Out: batches on a device. The mean and deviation of each channel are those of the training
images.

Axes: b images of a batch, p patches (1 where they are pooled beforehand), D trunk width, i images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genlip.evaluate.frozen.features import FrozenFeatures
from genlip.evaluate.frozen.head_training import Standard
from genlip.evaluate.probe.pooling import Pooling, mean_pooled

__all__ = ["ProbeBatch", "ProbeInputs", "in_batches"]


class ProbeBatch(NamedTuple):
    """Float32[b p D] features, Bool[b p] which patches are not padding, Int64[b] labels."""

    features: Tensor
    real: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class ProbeInputs:
    """Labelled images.

    Attributes:
        features: of the images.
        labels: Int64[i], their classes.
        pooling: "mean" reads the mean over patches as an image's only vector.
        device: of the batches.
        standard: of the training images, on the device; None leaves vectors as they are.
    """

    features: FrozenFeatures
    labels: Tensor
    pooling: Pooling
    device: torch.device
    standard: Standard | None = None

    def __len__(self) -> int:
        return len(self.features)

    def batch(self, some: np.ndarray) -> ProbeBatch:
        """Images by their places in the features."""
        vectors, real = self._vectors(some)
        vectors = vectors.to(self.device)
        if self.standard is not None:
            vectors = self.standard.of_rows(vectors)
        return ProbeBatch(vectors, real.to(self.device), self.labels[torch.from_numpy(some)].to(self.device))

    def standardised(self, some: np.ndarray, batch_size: int) -> ProbeInputs:
        """The same with a mean of 0 and a deviation of 1 over all vectors of these images, in each channel."""
        parts = (vectors[real] for vectors, real in map(self._vectors, in_batches(some, batch_size)))
        return dataclasses.replace(self, standard=Standard.of(parts).to(self.device))

    def of(self, features: FrozenFeatures, labels: Tensor) -> ProbeInputs:
        """Other images, standardised by the same numbers."""
        return dataclasses.replace(self, features=features, labels=labels)

    def _vectors(self, some: np.ndarray) -> tuple[Tensor, Tensor]:
        vectors, real = self.features.batch(some)
        if self.pooling == "attentive":
            return vectors, real
        return mean_pooled(vectors, real)[:, None], torch.ones(len(some), 1, dtype=torch.bool)


def in_batches(some: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Consecutive parts; the last may be smaller."""
    return (some[start : start + batch_size] for start in range(0, len(some), batch_size))
