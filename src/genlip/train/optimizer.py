"""The optimizer: AdamW with linear warm-up and cosine decay, as the paper trains; or Muon for the trunk's matrices.

In: a model and an `OptimizerConfig`. Out: optimizers that share the trained parameters, and the learning rate of every step
as a pure function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch.optim import AdamW, Muon, Optimizer

from genlip.model.genlip import GenLIP
from genlip.recipes.run import OptimizerConfig

__all__ = ["freeze", "learning_rate", "make_optimizers", "set_learning_rate"]


def freeze(model: GenLIP, patterns: Sequence[str]) -> None:
    """Train no parameter whose name fits a pattern. Raises ValueError if one fits none, or nothing is left to train."""
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"freeze {pattern!r} fits no parameter; their names are like {names[0]} and {names[-1]}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(fnmatchcase(name, pattern) for pattern in patterns))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze {list(patterns)} leaves nothing to train")


def make_optimizers(model: GenLIP, config: OptimizerConfig) -> list[Optimizer]:
    """Optimizers that own every trained parameter once; as in the published code, the weight decay spares none.

    "muon" orthogonalises the updates of the trunk's matrices (steps scaled to AdamW's size, so that one learning rate
    serves both) and leaves all else to AdamW.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    trunk = {id(p) for p in model.blocks.parameters() if p.dim() == 2} if config.kind == "muon" else set()
    matrices, others = ([p for p in trained if (id(p) in trunk) == inside] for inside in (True, False))
    rate, decay, betas = config.learning_rate, config.weight_decay, (config.beta1, config.beta2)
    found: list[Optimizer] = []
    if others:
        found.append(AdamW(others, lr=rate, betas=betas, eps=config.eps, weight_decay=decay, fused=True))
    if matrices:
        found.append(Muon(matrices, lr=rate, weight_decay=decay, momentum=config.beta2, adjust_lr_fn="match_rms_adamw"))
    return found


def learning_rate(config: OptimizerConfig, progress: float) -> float:
    """Of the update that brings a run to `progress`, in (0, 1]: linear up to the peak, then a cosine to the final rate."""
    if progress < config.warmup_ratio:
        return config.learning_rate * progress / config.warmup_ratio
    done = (min(1.0, progress) - config.warmup_ratio) / (1 - config.warmup_ratio)
    fall = (1 + math.cos(math.pi * done)) / 2
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall


def set_learning_rate(optimizers: Sequence[Optimizer], value: float) -> None:
    """Use this rate for the next update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = value
