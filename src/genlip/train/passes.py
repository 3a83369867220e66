"""Passes: the forward and backward passes of an update over the packs of this rank.

In: batches as the loader gives them. Out: gradients of the summed loss in the model, and the sums that go with them.
Every rank makes as many passes as the rank with the most rows; where it has no pack, it runs the task's idle one.

The loss of a `PackTask` is one forward and one backward pass for each pack. That of an `UpdateTask` needs the embeddings of
all packs and ranks at once, which are not held with their graphs:

    1  embed each pack without gradients, and gather the embeddings of all ranks in the order of their rows
    2  on every rank, with the same random numbers, compute the loss of all and its gradient with respect to the
       embeddings and its own parameters
    3  embed each pack again, with the same random numbers, and backpropagate the gradient of its embeddings

By the chain rule this is the gradient of the loss of one large batch. An update of a single pack is embedded once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from genlip.data.packing import Batch
from genlip.train.parallel import gradient_sync
from genlip.train.precision import autocast
from genlip.train.state import State
from genlip.train.task import PackTask, UpdateTask

__all__ = ["Note", "Passes", "run_passes"]

Note = Callable[[int, int, Batch], None]  # update, row, batch


class Passes:
    """Sums over this rank's passes of an update.

    Attributes:
        loss, terms: the loss as a sum, and the number of terms in it.
        failure: why no further batch could be read.
        by_pack: a value that is NaN or infinite if the pack's loss or embeddings are, and the keys of the pack's samples.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.terms = torch.zeros((), dtype=torch.int64, device=device)
        self.samples = self.tokens = self.packs = self.lost = 0
        self.flops = self.waited = 0.0
        self.failure: ValueError | OSError | None = None
        self.by_pack: list[tuple[Tensor, tuple[str, ...]]] = []

    def figures(self) -> dict[str, float | Tensor]:
        """What is summed over the ranks."""
        names = ("loss", "terms", "samples", "tokens", "packs", "lost", "flops", "waited")
        return {name: getattr(self, name) for name in names} | {"failed": float(self.failure is not None)}

    def suspects(self) -> tuple[str, ...]:
        """Keys of the packs whose loss is NaN or infinite, or all keys."""
        bad = [key for value, keys in self.by_pack if not torch.isfinite(value) for key in keys]
        return tuple(bad or [key for _, keys in self.by_pack for key in keys])


class _Pass(NamedTuple):
    """A pack of this rank.

    Attributes:
        pack: the pack, or the idle one.
        batch: that it came in; None for the idle one.
        place: number of the pass in the update, from 0.
        last: no pass follows.
    """

    pack: Any
    batch: Batch | None
    place: int
    last: bool


def run_passes(state: State, batches: Iterator[Batch], note: Note) -> Passes:
    """Read this rank's packs of the next update and accumulate the gradients of the summed loss.

    note   is called with every batch before it is used, with the numbers of the update and of its row
    """
    sums = Passes(state.world.device)
    passes = _packs(state, batches, note, sums)
    if isinstance(state.task, UpdateTask):
        _train_on_all(state, state.task, list(passes), sums)
    else:
        for one in passes:
            _train_on_pack(state, state.task, one, sums)
    return sums


def _packs(state: State, batches: Iterator[Batch], note: Note, sums: Passes) -> Iterator[_Pass]:
    """This rank's packs, one after another; as many as the rank with the most rows has."""
    rows, rounds = state.loader.rows, -(-state.run.packing.packs // state.world.ranks)
    for place in range(rounds):
        pack, batch = None, None
        if place < len(rows) and sums.failure is None:
            asked = time.perf_counter()
            try:
                batch = next(batches)
                note(state.step + 1, rows[place], batch)
                sums.lost += len(batch.skipped)
                pack = batch.pack
            except (ValueError, OSError) as error:  # the other ranks need this one's passes until all know of the error
                sums.failure = error
            sums.waited += time.perf_counter() - asked
        if pack is not None:
            sums.packs += 1
            sums.samples += pack.num_samples
            sums.tokens += pack.num_rows
            sums.flops += state.task.flops(pack)
            yield _Pass(pack, batch, place, last=place == rounds - 1)
        elif state.world.ranks > 1:
            yield _Pass(state.task.idle(), None, place, last=place == rounds - 1)


def _train_on_pack(state: State, task: PackTask, one: _Pass, sums: Passes) -> None:
    """Accumulate the gradient of one pack's summed loss."""
    _seed(state, _row(state, one))
    pack = one.pack.to(state.world.device)
    with gradient_sync(state.shared, one.last):
        with autocast(state.precision, state.world.device):
            loss, terms = state.shared(lambda model: task.loss(model, pack))
        loss.backward()
    if one.batch is None and int(terms):
        raise RuntimeError(f"the idle pack of {type(task).__name__} has {int(terms)} terms: its loss must have 0 terms")
    sums.loss += loss.detach()
    sums.terms += terms
    sums.by_pack.append((loss.detach(), one.batch.keys if one.batch is not None else ()))


def _row(state: State, one: _Pass) -> int:
    """The row of the update that a pass is for."""
    return state.world.rank + one.place * state.world.ranks


def _seed(state: State, part: int | Literal["loss"]) -> None:
    """Seed a row of the update, or its loss of all, so that random draws do not depend on the number of ranks."""
    name = f"{state.run.seed}/{state.step}/{part}".encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(name, digest_size=7).digest()))


def _train_on_all(state: State, task: UpdateTask, passes: Sequence[_Pass], sums: Passes) -> None:
    """Accumulate the gradient of the loss of all embeddings."""
    if not passes:
        return
    world = state.world
    if world.ranks == 1 and len(passes) == 1:
        _train_on_one(state, task, passes[0], sums)
        return
    with torch.no_grad():
        found = [_embed(state, task, one) for one in passes]
    for one, embeddings in zip(passes, found, strict=True):
        sums.by_pack.append((embeddings.sum(), one.batch.keys if one.batch is not None else ()))
    ours = [part[: len(part) if one.batch is not None else 0] for one, part in zip(passes, found, strict=True)]
    numbers = torch.tensor([len(part) for part in ours], device=world.device)
    sizes = [part.tolist() for part in world.gather_tensors(numbers)]
    gathered = [part.split(size) for part, size in zip(world.gather_tensors(torch.cat(ours)), sizes, strict=True)]
    in_order = [gathered[rank][place] for place in range(len(passes)) for rank in range(world.ranks)]
    everything = torch.cat(in_order)
    if not len(everything):
        if isinstance(state.shared, FSDPModule):
            state.shared.reshard()  # its parameters were gathered above, and no backward pass follows that shards them
        return
    _seed(state, "loss")
    with torch.no_grad():  # or DDP would expect a backward pass
        loss, terms, gradient, loss_gradients = state.shared(lambda model: _gradients(task, model, everything))
    if world.leads:  # all ranks computed the same
        sums.loss += loss
        sums.terms += terms
    gradients = gradient.split([len(part) for part in in_order])
    for number, one in enumerate(passes):
        linear = partial(
            _linear,
            gradient=gradients[number * world.ranks + world.rank] if one.batch is not None else None,
            loss_gradients=loss_gradients,
            scale=float(world.leads and number == 0),  # the gradients of its own parameters count once
        )
        with gradient_sync(state.shared, one.last):
            _embed(state, task, one, linear).backward()


def _train_on_one(state: State, task: UpdateTask, one: _Pass, sums: Passes) -> None:
    """The same where the update has a single pack, whose graph can be kept: it is embedded once."""
    embeddings = _embed(state, task, one)
    _seed(state, "loss")
    loss, terms = state.shared(lambda model: task.full_precision_loss(model, embeddings))
    loss.backward()
    sums.loss += loss.detach()
    sums.terms += terms
    sums.by_pack.append((embeddings.detach().sum(), one.batch.keys if one.batch is not None else ()))


def _embed(
    state: State, task: UpdateTask, one: _Pass, then: Callable[[nn.Module, Tensor], Tensor] = lambda model, found: found
) -> Tensor:
    """Float[k ..], the embeddings of a pack in float32 or better, or what `then` makes of them in the same forward pass."""
    _seed(state, _row(state, one))
    pack = one.pack.to(state.world.device)

    def use(model: nn.Module) -> Tensor:
        with autocast(state.precision, state.world.device):
            found = task.embed(model, pack)
        return then(model, found.to(torch.promote_types(found.dtype, torch.float32)))

    return state.shared(use)


def _gradients(
    task: UpdateTask, model: nn.Module, embeddings: Tensor
) -> tuple[Tensor, Tensor | int, Tensor, dict[str, Tensor]]:
    """The loss of all embeddings, its terms, and its gradients: of the embeddings, and by name of its own parameters."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        leaf = embeddings.detach().requires_grad_()
        loss, terms = task.full_precision_loss(model, leaf)
        gradient, *rest = torch.autograd.grad(loss, [leaf, *named.values()], allow_unused=True)
    loss_gradients = {name: value for name, value in zip(named, rest, strict=True) if value is not None}
    return loss.detach(), terms, gradient, loss_gradients


def _linear(
    model: nn.Module, embeddings: Tensor, *, gradient: Tensor | None, loss_gradients: dict[str, Tensor], scale: float
) -> Tensor:
    """Float[], a function of embeddings and parameters whose gradients are the given ones, and 0 for an idle pack.

    It uses the loss's own parameters in every pass, because DDP waits for the gradients of all parameters.
    """
    total = (embeddings * (0 if gradient is None else gradient)).sum()
    named = dict(model.named_parameters())
    return total + scale * sum((named[name] * value).sum() for name, value in loss_gradients.items())
