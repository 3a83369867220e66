"""What the tests of the baselines share: small runs, tasks and packs in float64."""

from __future__ import annotations

from typing import Any

import torch

from genlip.data.sources import open_source
from genlip.model.pack import Pack
from genlip.train.task import task_class

from ..model.helpers import random_pack
from ..train.helpers import small_run

SHAPES = [(3, 2, 5), (3, 2, 5), (1, 1, 2), (4, 3, 1), (2, 5, 8)]


def task_of(out: Any, task: str, **changes: Any) -> Any:
    """The task of a small run."""
    run = small_run(out, task=task, model__ls_init_value=0.3, **changes)
    kind = task_class(run)
    return kind(run, kind.find_processor(run, open_source("scenes:0"), None))


def built(task: Any, seed: int = 0) -> Any:
    """Its model in float64."""
    torch.manual_seed(seed)
    return task.build("sdpa").double()


def pack_of(task: Any, shapes: Any = SHAPES) -> Pack:
    """A pack of random samples."""
    return random_pack(task.run.model, shapes)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Gradients by name of the parameters that are trained."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
