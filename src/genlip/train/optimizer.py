"""The optimizer: AdamW, as the paper trains; or Muon for the matrices of the blocks.

In: parameter groups and an `OptimizerConfig`. Out: optimizers, each for a part of the trained parameters. The learning rate
of every step comes from `schedule`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from genlip.recipes.run import OptimizerConfig
from genlip.train.task import ParameterGroup

__all__ = ["check_groups", "freeze", "make_optimizers", "set_learning_rate"]


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Train no parameter whose name fits a pattern, besides those that the task does not train anyway.

    Raises ValueError if a pattern fits no name, or if no parameter is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"freeze {pattern!r} fits no parameter; their names are like {names[0]} and {names[-1]}")
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"freeze {list(patterns)} leaves nothing to train")


def check_groups(model: nn.Module, groups: Sequence[ParameterGroup]) -> None:
    """Raise ValueError unless every parameter that is trained lies in exactly one group, and no other in any."""
    times = Counter(id(parameter) for group in groups for parameter in group.parameters)
    named = list(model.named_parameters())
    wrong = {
        "in no group": [name for name, p in named if p.requires_grad and not times[id(p)]],
        "in several groups, or several times in one": [name for name, p in named if times[id(p)] > 1],
        "in a group, but not trained": [name for name, p in named if times[id(p)] and not p.requires_grad],
    }
    if found := [f"{what}: {', '.join(names)}" for what, names in wrong.items() if names]:
        raise ValueError(
            f"parameter_groups: {'; '.join(found)}; every parameter with requires_grad must lie in exactly one group"
        )


def make_optimizers(
    groups: Sequence[ParameterGroup], matrices: Sequence[nn.Parameter], config: OptimizerConfig
) -> list[Optimizer]:
    """Optimizers that hold every parameter of the groups once; as in the published code, weight decay applies to all.

    "muon" orthogonalises the updates of `matrices` (steps scaled to AdamW's size, so that one learning rate serves both)
    and leaves all others to AdamW.
    """
    of_muon = {id(p) for p in matrices} if config.kind == "muon" else set()

    def parts(muon: bool) -> list[dict[str, Any]]:
        chosen = [([p for p in group.parameters if (id(p) in of_muon) == muon], group.rate_scale) for group in groups]
        return [{"params": parameters, "rate_scale": scale} for parameters, scale in chosen if parameters]

    rate, decay, betas = config.learning_rate, config.weight_decay, (config.beta1, config.beta2)
    found: list[Optimizer] = []
    if others := parts(muon=False):
        found.append(AdamW(others, lr=rate, betas=betas, eps=config.eps, weight_decay=decay, fused=True))
    if orthogonalised := parts(muon=True):
        found.append(
            Muon(orthogonalised, lr=rate, weight_decay=decay, momentum=config.beta2, adjust_lr_fn="match_rms_adamw")
        )
    return found


def set_learning_rate(optimizers: Sequence[Optimizer], value: float) -> None:
    """Use this rate, times the scale of each parameter group, for the next update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = value * group["rate_scale"]
