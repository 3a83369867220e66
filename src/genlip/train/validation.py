"""Validation during training: the task measures the model on held-out samples.

In: a state. Out: figures and spoken captions. Rank 0 measures alone, on whole weights, while the other ranks wait.
"""

from __future__ import annotations

import logging

import torch
from torch import nn

from genlip.data.samples import Reader
from genlip.recipes.run import Run
from genlip.train.precision import autocast
from genlip.train.state import State
from genlip.train.task import HeldOutSet, Measured

__all__ = ["held_out_set", "measure"]

log = logging.getLogger(__name__)


def held_out_set(reader: Reader, run: Run) -> HeldOutSet:
    """Read the held-out samples. Raises ValueError if fewer than two are usable."""
    samples, skipped = reader.some(run.data.held_out_samples)
    for skip in skipped:
        log.warning("skipped held-out %s", skip.message)
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} usable held-out samples: need at least 2")
    return HeldOutSet(samples, reader.source)


def measure(state: State, on: HeldOutSet | None) -> Measured | None:
    """Measure with whole weights, averaged ones if there are; all ranks must call.

    Only rank 0 passes `on` and gets a result.
    """
    model = _whole_model(state)
    if model is None or on is None:
        return None
    training = model.training
    with autocast(state.precision, state.world.device):
        found = state.task.validate(model, on)
    model.train(training)
    return found


def _whole_model(state: State) -> nn.Module | None:
    """The model itself where it is whole, else a copy on rank 0."""
    if not state.sharded and state.average is None:
        return state.model if state.world.leads else None
    weights = state.weights()
    if not state.world.leads:
        return None
    with torch.device("meta"):
        copy: nn.Module = state.task.build(state.attention)
    for name, buffer in state.model.named_buffers(remove_duplicate=False):
        owner, _, last = name.rpartition(".")
        setattr(copy.get_submodule(owner), last, buffer.clone())  # stays one that is stored, or one that is not
    first = {id(parameter): name for name, parameter in state.model.named_parameters()}
    names = {name: first[id(parameter)] for name, parameter in state.model.named_parameters(remove_duplicate=False)}
    buffers = {name: value for name, value in copy.state_dict().items() if name not in names}
    copy.load_state_dict(buffers | {name: weights[own] for name, own in names.items()}, assign=True)
    if absent := [name for name, parameter in copy.named_parameters() if parameter.is_meta]:
        raise RuntimeError(f"no values for the parameters {', '.join(absent)}: `build` must make the same parameters again")
    return copy.to(state.world.device).eval()
