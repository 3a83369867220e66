"""EMA: an exponential moving average of the weights over the updates, which often measures better than the last weights.

In: a model after each update. Out: the averaged weights, whole or sharded like the model's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genlip.train.parallel import local_shard

__all__ = ["EMA"]


class EMA:
    """The averaged weights by name, in `weights`.

    The decay begins low, (1 + n) / (10 + n) after n updates, so that the initial weights soon have no influence.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after update number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [local_shard(p) for p in model.parameters()]
        torch._foreach_lerp_([local_shard(value) for value in self.weights.values()], now, 1 - decay)
