"""The optimizer: AdamW with linear warm-up and cosine decay, as the paper trains; or Muon for the trunk's matrices.

In: a model and an `OptimizerConfig`. Out: optimizers that share the parameters, and the learning rate of every step as a
pure function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import AdamW, Muon, Optimizer

from genlip.model.genlip import GenLIP
from genlip.train.recipe import OptimizerConfig

__all__ = ["learning_rate", "make_optimizers", "set_learning_rate"]


def make_optimizers(model: GenLIP, config: OptimizerConfig) -> list[Optimizer]:
    """Optimizers that own every parameter once; as in the published code, the weight decay spares none.

    "muon" orthogonalises the updates of the trunk's matrices (steps scaled to AdamW's size, so that one learning rate
    serves both) and leaves all else to AdamW.
    """
    matrices = [p for block in model.blocks for p in block.parameters() if p.dim() == 2] if config.kind == "muon" else []
    owned = {id(p) for p in matrices}
    adamw = AdamW(
        [p for p in model.parameters() if id(p) not in owned],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if not matrices:
        return [adamw]
    decay, rate = config.weight_decay, config.learning_rate
    return [adamw, Muon(matrices, lr=rate, weight_decay=decay, momentum=config.beta2, adjust_lr_fn="match_rms_adamw")]


def learning_rate(config: OptimizerConfig, progress: float) -> float:
    """Of the update that brings a run to `progress`, in (0, 1]: linear up to the peak, then a cosine to the final rate."""
    if progress < config.warmup:
        return config.learning_rate * progress / config.warmup
    done = (min(1.0, progress) - config.warmup) / (1 - config.warmup)
    fall = (1 + math.cos(math.pi * done)) / 2
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall


def set_learning_rate(optimizers: Sequence[Optimizer], value: float) -> None:
    """Use this rate for the next update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = value
