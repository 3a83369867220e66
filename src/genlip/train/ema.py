"""An average of the weights over the updates, which often sees better than the weights themselves (EMA).

In: a model after each update. Out: the averaged weights, whole or sharded like the model's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genlip.model.genlip import GenLIP
from genlip.train.parallel import shard

__all__ = ["Average"]


class Average:
    """`weights` by name follow those of the model, a little at each update.

    The decay begins low, (1 + n) / (10 + n) after n updates, so that the random beginning is soon forgotten.
    """

    def __init__(self, model: GenLIP, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: GenLIP, step: int) -> None:
        """Take in the weights after update number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [shard(p) for p in model.parameters()]
        torch._foreach_lerp_([shard(value) for value in self.weights.values()], now, 1 - decay)
