"""One update: the packs of all ranks in, one step of the optimizer out.

The loss of an update is the sum of the task's loss over all packs and ranks, divided by the number of terms in it (for
GenLIP: supervised tokens). That number is only known at the end, because packs are processed as they arrive. So the gradient
of the plain sum is accumulated, and divided together with the clipping. One small reduction over the ranks carries all that
they must agree on.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch.nn.utils import get_total_norm

from genlip.data.packing import Batch
from genlip.train.optimizer import set_learning_rate
from genlip.train.parallel import whole_tensor
from genlip.train.passes import Note, Passes, run_passes
from genlip.train.schedule import learning_rate
from genlip.train.state import State

__all__ = ["DataUnreadable", "NonFinite", "Update", "update"]


class DataUnreadable(RuntimeError):
    """A rank could not read a batch. Weights, counts and the places in the data are those before the update, on all ranks.

    Its cause is the error, on the rank where it occurred.

    Attributes:
        stop: a rank was asked to stop.
    """

    def __init__(self, message: str, stop: bool) -> None:
        super().__init__(message)
        self.stop = stop


class NonFinite(ArithmeticError):
    """Too many losses or gradients in a row were NaN or infinite; the weights are those of the last finite update."""


@dataclass(frozen=True)
class Update:
    """What one update measured, over all ranks.

    Attributes:
        loss: mean over the terms of the task's loss; for GenLIP in nats per supervised token.
        gradient_norm: before clipping.
        learning_rate: of the schedule.
        samples, tokens: sizes; tokens are rows, patches and text.
        packing_efficiency: share of the packs' rows that was in use.
        flops: work of the forward and backward passes.
        seconds: from the request for the first pack to the end of the step.
        waited: seconds of them in which packs were waited for, averaged over the ranks.
        lost: samples that could not be used.
        stop: a rank was asked to stop.
        ended: no data is left.
        suspects: where the step was skipped, the keys of the samples in packs whose loss is NaN or infinite; all keys of the
            update if only the gradient is.
        broken: where the step was skipped, the parameters whose gradient is NaN or infinite.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    samples: int
    tokens: int
    packing_efficiency: float
    flops: float
    seconds: float
    waited: float
    lost: int
    stop: bool
    ended: bool
    suspects: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether the step was made."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


def update(state: State, batches: Iterator[Batch], note: Note, stop: Callable[[], bool]) -> Update:
    """Train on the next packs of all ranks.

    note   is called with every batch of this rank before it is used, with the numbers of the update and of its row
    stop   tells whether this rank was asked to stop; the result tells all ranks

    Where the loss or the gradient is NaN or infinite, the step is skipped; the caller checks `finite`. Raises
    `DataUnreadable` on all ranks if `batches` or `note` fails on one.
    """
    began = time.perf_counter()
    state.model.zero_grad()
    passes = run_passes(state, batches, note)
    mine = {**passes.figures(), "stop": float(stop()), "going": float(not state.loader.ended)}
    total = dict(zip(mine, state.world.sums(list(mine.values())), strict=True))
    if total["failed"]:
        _undo(state, passes.failure, stop=total["stop"] > 0)
    state.samples += int(total["samples"])
    state.tokens += int(total["tokens"])
    state.seen += int(total["samples"] + total["lost"])
    norm, rate = 0.0, 0.0
    if total["packs"]:
        state.step += 1
        rate = learning_rate(state.run.optimizer, state.progress)
        norm = _step(state, total["loss"], max(1.0, total["terms"]), rate)
    seconds = time.perf_counter() - began
    state.seconds += seconds
    done = Update(
        loss=total["loss"] / max(1.0, total["terms"]),
        gradient_norm=norm,
        learning_rate=rate,
        samples=int(total["samples"]),
        tokens=int(total["tokens"]),
        packing_efficiency=total["tokens"] / max(1.0, total["packs"] * state.run.packing.max_tokens),
        flops=total["flops"],
        seconds=seconds,
        waited=total["waited"] / state.world.ranks,
        lost=int(total["lost"]),
        stop=total["stop"] > 0,
        ended=not total["going"] and not total["packs"],
    )
    return done if done.finite else _with_causes(state, done, passes)


def _undo(state: State, failure: Exception | None, stop: bool) -> NoReturn:
    """Undo what this update did so far, and raise: a rank has no data for the rest."""
    state.model.zero_grad()
    state.loader.undo()
    messages = [message for message in state.world.gather(str(failure) if failure else "") if message]
    raise DataUnreadable(messages[0] if messages else "the data could not be read", stop) from failure


def _with_causes(state: State, done: Update, passes: Passes) -> Update:
    """The same update with the samples and parameters that may be the cause of a loss that is NaN or infinite."""
    suspects = [key for keys in state.world.gather(passes.suspects()) for key in keys]
    gradients = ((name, p.grad) for name, p in state.model.named_parameters() if p.grad is not None)
    broken = [name for name, gradient in gradients if not torch.isfinite(whole_tensor(gradient)).all()]
    return dataclasses.replace(done, suspects=tuple(suspects), broken=tuple(broken))


def _step(state: State, loss: float, terms: float, rate: float) -> float:
    """Divide, clip, and step if all is finite; returns the gradient's norm before clipping."""
    trained = {name: p.grad for name, p in state.model.named_parameters() if p.requires_grad}
    if without := [name for name, gradient in trained.items() if gradient is None]:
        raise RuntimeError(
            f"update {state.step}: these trained parameters have no gradient: {', '.join(without)}; the loss of every pack "
            "must use every trained parameter (multiply by 0 what a pack does not need), or freeze them"
        )
    gradients = [gradient for gradient in trained.values() if gradient is not None]
    mean = state.world.ranks / terms  # DDP and FSDP computed the mean over ranks
    norm = float(whole_tensor(get_total_norm(gradients))) * mean
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return norm
    torch._foreach_mul_(gradients, mean * min(1.0, state.run.optimizer.max_grad_norm / (norm + 1e-6)))
    set_learning_rate(state.optimizers, rate)
    for optimizer in state.optimizers:
        optimizer.step()
    if state.average:
        state.average.update(state.model, state.step)
    return norm
