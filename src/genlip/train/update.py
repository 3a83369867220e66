"""One update: the packs of all ranks in, one step of the optimizer out.

The loss of an update is the sum over the supervised tokens of everything it saw, all packs and ranks, divided by how many.
That number is only known at the end, since packs are handled as they come and not held: so the gradient of the plain sum is
accumulated, and divided together with the clipping. One small sum over the ranks settles all that they must agree on, and
is the only time in an update that the device is waited for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from genlip.data.packing import Batch
from genlip.model.flops import training_flops
from genlip.model.pack import Pack
from genlip.train.optimizer import learning_rate, set_learning_rate
from genlip.train.parallel import full, gradient_sync, idle_pack
from genlip.train.precision import autocast
from genlip.train.state import State

__all__ = ["DataFailed", "NonFinite", "Update", "update"]

Note = Callable[[int, int, Batch], None]  # update, row, batch


class DataFailed(RuntimeError):
    """A rank got no batch. Weights, counts and the places in the data are those before the update, on all ranks.

    Its cause is the error, on the rank that met it.

    Attributes:
        stop: a rank was asked to stop.
    """

    def __init__(self, message: str, stop: bool) -> None:
        super().__init__(message)
        self.stop = stop


class NonFinite(ArithmeticError):
    """Too many losses or gradients in a row were no numbers; the weights are those of the last good update."""


@dataclass(frozen=True)
class Update:
    """What one update measured, over all ranks.

    Attributes:
        loss: mean in nats per supervised token.
        gradient_norm: before clipping.
        learning_rate: that was used.
        samples, tokens: sizes; tokens are rows, patches and text.
        packing_efficiency: share of the packs' room that was in use.
        flops: work of the forward and backward passes.
        seconds: from the first pack asked for to the step done.
        waited: seconds of them that passed until packs were there, of the mean rank.
        lost: samples that could not be used.
        stop: a rank was asked to stop.
        ended: no data is left.
        suspects: where the step was left out, the keys of the samples whose packs had a loss that is no number; all of the
            update's if only the gradient is none.
        broken: where the step was left out, the parameters whose gradient is no number.
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


class _Passes:
    """What this rank's forward and backward passes of an update add up to."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.supervised = torch.zeros((), dtype=torch.int64, device=device)
        self.samples = self.tokens = self.packs = self.lost = 0
        self.flops = self.waited = 0.0
        self.failure: ValueError | OSError | None = None
        self.by_pack: list[tuple[Tensor, tuple[str, ...]]] = []  # loss and keys of each

    def figures(self) -> dict[str, float | Tensor]:
        """What is summed over the ranks."""
        names = ("loss", "supervised", "samples", "tokens", "packs", "lost", "flops", "waited")
        return {name: getattr(self, name) for name in names} | {"failed": float(self.failure is not None)}

    def suspects(self) -> tuple[str, ...]:
        """Keys of the packs whose loss is no number, or all."""
        bad = [key for loss, keys in self.by_pack if not torch.isfinite(loss) for key in keys]
        return tuple(bad or [key for _, keys in self.by_pack for key in keys])


def update(state: State, batches: Iterator[Batch], note: Note, stop: Callable[[], bool]) -> Update:
    """Learn from the next packs of all ranks.

    note   hears of every batch of this rank as it is used, with the number of the update and of its row
    stop   was this rank asked to stop? All hear of it

    Where the loss or the gradient is no number, the step is left out; the caller looks at `finite`. Raises `DataFailed` on
    all ranks if `batches` or `note` fails on one.
    """
    began = time.perf_counter()
    state.model.zero_grad()
    passes = _passes(state, batches, note)
    mine = {**passes.figures(), "stop": float(stop()), "going": float(not state.loader.ended)}
    total = dict(zip(mine, state.world.sums(list(mine.values())), strict=True))
    if total["failed"]:
        _leave(state, passes.failure, stop=total["stop"] > 0)
    state.samples += int(total["samples"])
    state.tokens += int(total["tokens"])
    state.seen += int(total["samples"] + total["lost"])
    norm, rate = 0.0, 0.0
    if total["packs"]:
        state.step += 1
        rate = learning_rate(state.run.optimizer, state.progress)
        norm = _step(state, total["loss"], max(1.0, total["supervised"]), rate)
    seconds = time.perf_counter() - began
    state.seconds += seconds
    done = Update(
        loss=total["loss"] / max(1.0, total["supervised"]),
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
    return done if done.finite else _accused(state, done, passes)


def _leave(state: State, failure: Exception | None, stop: bool) -> NoReturn:
    """Take back what this update did so far, since a rank has no data for the rest."""
    state.model.zero_grad()
    state.loader.undo()
    told = [message for message in state.world.gather(str(failure) if failure else "") if message]
    raise DataFailed(told[0] if told else "the data could not be read", stop) from failure


def _accused(state: State, done: Update, passes: _Passes) -> Update:
    """The same update with what may be to blame."""
    suspects = [key for keys in state.world.gather(passes.suspects()) for key in keys]
    gradients = ((name, p.grad) for name, p in state.model.named_parameters() if p.grad is not None)
    broken = [name for name, gradient in gradients if not torch.isfinite(full(gradient)).all()]
    return dataclasses.replace(done, suspects=tuple(suspects), broken=tuple(broken))


def _passes(state: State, batches: Iterator[Batch], note: Note) -> _Passes:
    """Forward and backward over this rank's packs; as many as the rank with the most rows makes."""
    sums, rows = _Passes(state.world.device), state.loader.rows
    rounds = -(-state.run.packing.packs // state.world.ranks)
    for place in range(rounds):
        pack = None
        if place < len(rows) and sums.failure is None:
            asked = time.perf_counter()
            try:
                batch = next(batches)
                note(state.step + 1, rows[place], batch)
                sums.lost += len(batch.skipped)
                pack = batch.pack
            except (ValueError, OSError) as error:  # other ranks count on this one's passes until all hear of it
                sums.failure = error
            sums.waited += time.perf_counter() - asked
        if pack is not None:
            sums.packs, sums.samples, sums.tokens = (
                sums.packs + 1,
                sums.samples + len(pack.grids),
                sums.tokens + pack.num_rows,
            )
            sums.flops += training_flops(state.run.model, pack)
        elif state.world.ranks == 1:
            continue
        loss = _learn(state, pack or idle_pack(state.run.model.patch_dim), sums, place, last=place == rounds - 1)
        sums.by_pack.append((loss, batch.keys if pack is not None else ()))
    return sums


def _learn(state: State, pack: Pack, sums: _Passes, place: int, last: bool) -> Tensor:
    """The gradient of one pack's summed loss, and that loss.

    DropPath draws by (seed, update, row): any number of ranks draws alike.
    """
    row = state.world.rank + place * state.world.ranks
    name = f"{state.run.seed}/{state.step}/{row}".encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(name, digest_size=7).digest()))
    pack = pack.to(state.world.device)
    with gradient_sync(state.shared, last):
        with autocast(state.precision, state.world.device):
            loss = state.shared(pack)
        loss.backward()
    sums.loss += loss.detach()
    sums.supervised += pack.supervised.sum()
    return loss.detach()


def _step(state: State, loss: float, supervised: float, rate: float) -> float:
    """Divide, clip, and step if all are numbers; returns the gradient's norm before clipping."""
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    mean = state.world.ranks / supervised  # the wrappers gave the mean over ranks
    norm = float(full(get_total_norm(gradients))) * mean
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return norm
    torch._foreach_mul_(gradients, mean * min(1.0, state.run.optimizer.max_grad_norm / (norm + 1e-6)))
    set_learning_rate(state.optimizers, rate)
    for optimizer in state.optimizers:
        optimizer.step()
    if state.average:
        state.average.update(state.model, state.step)
    return norm
