"""The optimizer: AdamW with linear warm-up and cosine decay, as the paper trains.

In: a model and an `OptimizerConfig`. Out: the optimizer, and the learning rate of every step as a pure function.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from genlip.train.recipe import OptimizerConfig

__all__ = ["learning_rate", "make_optimizer", "set_learning_rate"]


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over all parameters; as in the published code, the weight decay spares none."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Of update `step` (from 0) out of `steps`: linear up to the peak, then a cosine down to the final rate."""
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - 1 - warmup)
    fall = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Use this rate for the next update."""
    for group in optimizer.param_groups:
        group["lr"] = value
