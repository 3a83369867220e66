"""Schedule: the learning rate of every step, as a pure function of the progress of a run.

In: an `OptimizerConfig` and the progress. Out: the learning rate: linear warm-up, then cosine decay, or a stable phase and a
linear cooldown.
"""

from __future__ import annotations

import math

from genlip.recipes.run import OptimizerConfig

__all__ = ["learning_rate"]


def learning_rate(config: OptimizerConfig, progress: float) -> float:
    """The learning rate of the update after which `progress`, in (0, 1], of the run is done.

    It rises linearly to the peak. "cosine" falls as a cosine to the final rate. "stable" stays, and falls linearly in the
    last `cooldown_ratio` of the run: runs of different lengths have the same rate before, so that one can branch off
    another (Hu et al., arXiv 2404.06395).
    """
    if progress < config.warmup_ratio:
        return config.learning_rate * progress / config.warmup_ratio
    done = (min(1.0, progress) - config.warmup_ratio) / (1 - config.warmup_ratio)
    if config.schedule == "stable":
        fall = min(1.0, (1 - min(1.0, progress)) / config.cooldown_ratio) if config.cooldown_ratio else 1.0
    else:
        fall = (1 + math.cos(math.pi * done)) / 2
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall
