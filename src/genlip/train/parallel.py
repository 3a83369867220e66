"""Parallel training: the process group with its collectives, and the model wrapped in DDP or sharded by FSDP2.

In: the environment that `torchrun` sets. Out: a `World`, and a module that this rank calls.
All ranks make the same number of forward passes in an update, since sharded models gather their weights in each; a rank
without a pack runs the task's idle one, whose gradients are exactly 0. Both wrappers compute the mean of the ranks'
gradients. The update needs their sum, so it multiplies by `ranks` (genlip.train.update).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Shared", "World", "choose_strategy", "gradient_sync", "join_world", "local_shard", "share_model", "whole_tensor"]

_PATIENCE = timedelta(minutes=30)  # for the slowest rank: compiling, or writing to a busy disk

T = TypeVar("T")
Strategy = Literal["single", "ddp", "fsdp", "hybrid"]


@dataclass(frozen=True)
class World:
    """The processes of this training.

    Attributes:
        rank: number of this process, from 0; rank 0 reports, measures and exports.
        ranks: number of processes.
        local_ranks: processes on this node.
        device: on which this process computes.
    """

    rank: int = 0
    ranks: int = 1
    local_ranks: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  devices do not change

    @property
    def leads(self) -> bool:
        """Is this rank 0?"""
        return self.rank == 0

    def sums(self, values: Sequence[float | Tensor]) -> list[float]:
        """Each value summed over all ranks, in float64: one small collective, and one wait for the device."""
        total = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=self.device) for value in values])
        if self.ranks > 1:
            dist.all_reduce(total)
        return total.tolist()

    def gather(self, thing: Any) -> list[Any]:
        """The objects of all ranks, in order of rank. For small objects, and not in every update."""
        if self.ranks == 1:
            return [thing]
        things: list[Any] = [None] * self.ranks
        dist.all_gather_object(things, thing)
        return things

    def gather_tensors(self, value: Tensor) -> list[Tensor]:
        """The tensors of all ranks, in order of rank, without gradients; only their first axes may differ in size."""
        if self.ranks == 1:
            return [value]
        length = torch.tensor([len(value)], device=value.device)
        lengths = [torch.empty_like(length) for _ in range(self.ranks)]
        dist.all_gather(lengths, length)
        longest = max(int(one) for one in lengths)
        padded = value.new_zeros((longest, *value.shape[1:]))
        padded[: len(value)] = value
        gathered = [torch.empty_like(padded) for _ in range(self.ranks)]
        dist.all_gather(gathered, padded)
        return [one[: int(number)] for one, number in zip(gathered, lengths, strict=True)]

    def broadcast(self, thing: Any) -> Any:
        """The object of rank 0, on all ranks."""
        if self.ranks == 1:
            return thing
        held = [thing]
        dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
        return held[0]

    def on_rank_0(self, find: Callable[[], T]) -> T:
        """What `find` returns on rank 0, on all ranks. If it raises ValueError or OSError, rank 0 does too; others exit."""
        found: T | None = None
        error: Exception | None = None
        if self.leads:
            try:
                found = find()
            except (ValueError, OSError) as failure:
                error = failure
        found, failed = self.broadcast((found, error is not None))
        if error is not None:
            raise error
        if failed:
            raise SystemExit(1)
        return found  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait until all ranks have called this."""
        if self.ranks > 1:
            dist.barrier()


@contextmanager
def join_world() -> Iterator[World]:
    """The world that `torchrun` (or a scheduler that sets RANK, WORLD_SIZE and LOCAL_RANK) describes; else one process.

    Raises ValueError in one of several Slurm tasks that are not connected, and `ConnectionError` if another process ends.
    """
    _check_tasks()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        yield World(device=torch.device(device.type))
        return
    ours = not dist.is_initialized()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if ours:  # gloo beside nccl: checkpoints are written from copies in host memory
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    ranks = dist.get_world_size()
    try:
        yield World(dist.get_rank(), ranks, int(os.environ.get("LOCAL_WORLD_SIZE", ranks)), device)
    except RuntimeError as error:
        if not _of_a_collective(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ConnectionError(
            f"rank {dist.get_rank()}: another process of this run has ended or does not answer ({reason}); "
            "its last output tells why; the same command goes on from the last checkpoint"
        ) from error
    if ours:  # not after an error: this would wait for the other ranks
        dist.destroy_process_group()


def _check_tasks() -> None:
    """Refuse to train the same model once in each task of a Slurm job."""
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if tasks.isdecimal() and int(tasks) > 1 and "RANK" not in os.environ and not dist.is_initialized():
        raise ValueError(
            f"SLURM_NTASKS is {tasks} and RANK is not set: each task would train by itself; start one torchrun on each "
            "node, as in srun --ntasks-per-node 1 torchrun … -m genlip train … (examples/slurm), or unset SLURM_NTASKS"
        )


def _of_a_collective(error: RuntimeError) -> bool:
    """Is it the error of a collective? gloo has no type of error of its own."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "ProcessGroup"))


def choose_strategy(wanted: str, world: World) -> Strategy:
    """The strategy for a run's model. Raises ValueError where the number of processes does not allow it."""
    if world.ranks == 1:
        return "single"
    if wanted == "hybrid" and (world.ranks % world.local_ranks or world.ranks == world.local_ranks):
        raise ValueError(
            f"parallel is hybrid, which shards within nodes and copies between them: {world.ranks} processes with "
            f"{world.local_ranks} on this node are not several equal nodes; use fsdp"
        )
    return "ddp" if wanted == "auto" else wanted  # type: ignore[return-value]


class Shared(nn.Module):
    """A model that is called through `forward` alone, whatever is computed with it: DDP and FSDP act on this call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, use: Callable[[Any], T]) -> T:
        """The result of `use`, a function of the model."""
        return use(self.model)


def share_model(model: nn.Module, blocks: Iterable[nn.Module], strategy: Strategy, world: World) -> nn.Module:
    """The model as this rank calls it, a `Shared` or its wrapper.

    Sharding changes the model itself: its parameters become `DTensor`s. Each of the blocks is gathered when it is called.
    """
    shared = Shared(model)
    if strategy == "single":
        return shared
    if strategy == "ddp":
        return DistributedDataParallel(shared, gradient_as_bucket_view=True)
    device_type = world.device.type
    if strategy == "hybrid":
        shape = (world.ranks // world.local_ranks, world.local_ranks)
        mesh = init_device_mesh(device_type, shape, mesh_dim_names=("copies", "shards"))
    else:
        mesh = init_device_mesh(device_type, (world.ranks,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(shared, mesh=mesh)
    return shared


def gradient_sync(model: nn.Module, last: bool) -> AbstractContextManager[object]:
    """For one pack of an update: DDP reduces gradients over ranks after the last pack only, FSDP after each."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last)
    return nullcontext()


def whole_tensor(value: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; all ranks must call."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local_shard(value: Tensor) -> Tensor:
    """This rank's part of a tensor that may be sharded, in place."""
    return value.to_local() if isinstance(value, DTensor) else value
