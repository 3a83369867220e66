"""Pooling: the head of a probe, from the features of an image's patches to one vector, and to logits of classes.

In: frozen features with a mask of real patches. Out: logits. Attentive pooling follows the practice of AIM: standardised
features, one learned query, keys and values without biases, a linear classifier. An output projection would only multiply
into the classifier, and a bias of the keys would shift all scores of a softmax equally: neither would change the function.

One query needs no key of any patch: q . (W x) = (q W) . x, and values are projected after their sum over patches, which is
linear too. That is the same function at a cost per patch of 2 h D instead of 2 D D.

Axes: b images, p patches, D trunk width = h heads x d, C classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["AttentivePooling", "Pooling", "ProbeHead", "mean_pooled"]

Pooling = Literal["attentive", "mean"]


def mean_pooled(features: Tensor, real: Tensor) -> Tensor:
    """Float[b p D] and Bool[b p] -> Float[b D], the mean over real patches, of which each image has at least one."""
    weights = real.to(features.dtype)
    return torch.einsum("bp,bpD->bD", weights, features) / weights.sum(dim=1, keepdim=True)


class AttentivePooling(nn.Module):
    """Cross-attention of one learned query to the patches."""

    def __init__(self, width: int, heads: int, generator: torch.Generator | None = None) -> None:
        """Raises ValueError unless the heads divide the width. At first, patches weigh nearly the same."""
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"{heads} heads cannot share a width of {width}: need a divisor of it")
        each, bound = width // heads, math.sqrt(3 / width)  # xavier-uniform of a D x D matrix
        self.query = nn.Parameter(torch.empty(heads, each).normal_(std=0.02, generator=generator))
        self.key = nn.Parameter(torch.empty(heads, each, width).uniform_(-bound, bound, generator=generator))
        self.value = nn.Parameter(torch.empty(heads, each, width).uniform_(-bound, bound, generator=generator))

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Float[b p D] and Bool[b p] -> Float[b D]; each image has at least one real patch."""
        asked = torch.einsum("hd,hdD->hD", self.query, self.key) * self.query.shape[1] ** -0.5
        # linear, not einsum, whose gradient of one query takes five times as long on a CPU
        scores = nn.functional.linear(features, asked).masked_fill(~real[..., None], -math.inf)
        seen = torch.einsum("bph,bpD->hbD", scores.softmax(dim=1), features)
        return torch.einsum("hbD,hdD->bhd", seen, self.value).flatten(1)


class ProbeHead(nn.Module):
    """Pooling, if there is more than one vector per image, and a linear classifier."""

    def __init__(self, width: int, classes: int, heads: int | None, seed: int = 0) -> None:
        """`heads` of attentive pooling; None reads one vector per image. The same seed draws the same parameters."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.pool = AttentivePooling(width, heads, generator) if heads else None
        self.weight = nn.Parameter(torch.empty(classes, width).normal_(std=0.01, generator=generator))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Float[b p D] and Bool[b p] -> Float[b C]. Without attentive pooling p is 1."""
        if features.shape[-1] != self.weight.shape[1]:
            raise ValueError(
                f"features of {features.shape[-1]} numbers, and the head reads {self.weight.shape[1]}: "
                "train it on features of the same model"
            )
        pooled = features.squeeze(1) if self.pool is None else self.pool(features, real)
        return nn.functional.linear(pooled, self.weight, self.bias)
