"""The state of a run: its parts, and everything that resuming needs.

In: a `Run`. Out: a `State` with random weights, another model's weights, or those of the run's newest checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from genlip.data.loader import Loader, merge_states
from genlip.data.sample_counts import SampleCounts
from genlip.data.sources import Source
from genlip.machine import versions
from genlip.recipes.run import Run
from genlip.train import checkpoints
from genlip.train.checkpoints import Checkpoints
from genlip.train.ema import EMA
from genlip.train.optimizer import check_groups, freeze, make_optimizers
from genlip.train.parallel import World, choose_strategy, share_model, whole_tensor
from genlip.train.precision import Precision, resolve_precision
from genlip.train.task import PackTask, UpdateTask, task_class

__all__ = ["State", "begin"]


@dataclass
class State:
    """A run while it trains.

    Attributes:
        task: what is trained.
        model: the trained model; under FSDP its parameters are shards.
        shared: the module through which training calls the model, wrapped for several processes.
        attention: the model's attention backend.
        step: updates done. This count and the next four are of all ranks together.
        seconds: of training, without evaluation and without waiting at the start.
        tokens: rows that were used, patches and text.
        samples: number of samples that were used.
        seen: number of samples that were used or could not be.
        nonfinite: updates skipped in a row because their loss or gradient was NaN or infinite.
        sample_counts: samples by source and reason, of this rank; rank 0 includes those from before the run was resumed.
    """

    run: Run
    world: World
    task: PackTask | UpdateTask
    model: nn.Module
    shared: nn.Module
    attention: str
    optimizers: list[torch.optim.Optimizer]
    average: EMA | None
    loader: Loader
    precision: Precision
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    samples: int = 0
    seen: int = 0
    nonfinite: int = 0
    sample_counts: SampleCounts = field(default_factory=SampleCounts)

    @property
    def progress(self) -> float:
        """The share of the run that is done, from 0 to 1: the largest over its ends."""
        run = self.run
        done = (
            (self.step, run.steps),
            (self.seen, run.epochs * len(self.loader.reader.source)),
            (self.samples, run.samples),
            (self.tokens, run.tokens),
        )
        return min(1.0, max(now / end for now, end in done if end))

    @property
    def sharded(self) -> bool:
        """Whether each rank holds only a part of the weights."""
        return isinstance(self.shared, FSDPModule)

    def whole_sample_counts(self) -> SampleCounts:
        """The counts of all ranks; all must call."""
        parts = [SampleCounts.from_json(part) for part in self.world.gather(self.sample_counts.to_json())]
        return sum(parts, start=SampleCounts())

    def weights(self) -> dict[str, Tensor]:
        """Copies of the whole weights in host memory, averaged ones if there are, on rank 0; all ranks must call.

        A parameter with several names has the first of them.
        """
        named = self.average.weights if self.average else dict(self.model.named_parameters())
        whole = ((name, whole_tensor(value.detach())) for name, value in named.items())
        return {name: value.to("cpu", copy=True) for name, value in whole if self.world.leads}

    def save(self, to: Checkpoints) -> Path:
        """Start to write a checkpoint of the current state; all ranks must call."""
        progress = {
            "seconds": self.seconds, "tokens": self.tokens, "samples": self.samples, "seen": self.seen,
            "nonfinite": self.nonfinite, "tally": self.whole_sample_counts().to_json(), "precision": self.precision,
            "data": merge_states(self.world.gather(self.loader.state())), "ranks": self.world.ranks, "versions": versions(),
        }  # fmt: skip
        tensors = checkpoints.training_tensors(self.model, self.optimizers, self.average)
        weights = self.weights()
        return to.save(self.step, tensors, progress, lambda folder: self.task.export(folder, weights))


def begin(run: Run, world: World, source: Source, newest: Path | None) -> State:
    """The state to train from: that of the checkpoint `newest`, if there is one."""
    strategy = choose_strategy(run.parallel, world)
    task_type = task_class(run)
    task = task_type(run, world.on_rank_0(lambda: task_type.find_processor(run, source, newest)))
    precision: Precision = world.broadcast(_precision(run, world, newest))
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    attention = world.broadcast(task.attention(world.device, dtype))
    torch.manual_seed(run.seed)  # the same weights on every rank
    model: nn.Module = task.build(attention)
    if newest is None:
        task.load_initial(model)
    freeze(model, run.freeze)
    task.store_frozen(model, dtype)
    model.to(world.device).train()
    if run.compile:
        task.compile(model)
    shared = share_model(model, task.blocks(model), strategy, world)
    groups = task.parameter_groups(model)
    check_groups(model, groups)
    optimizers = make_optimizers(groups, task.matrices(model), run.optimizer)
    average = EMA(model, run.ema) if run.ema else None
    saved = checkpoints.restore(newest, model, optimizers, average, world) if newest else {}
    loader = Loader(
        task.reader(source), run.packing, workers=run.data.workers, rank=world.rank, ranks=world.ranks, epochs=run.epochs,
        state=saved.get("data"),
    )  # fmt: skip
    state = State(run, world, task, model, shared, attention, optimizers, average, loader, precision)
    if saved:
        counts = ("step", "seconds", "tokens", "samples", "seen", "nonfinite")
        sample_counts = SampleCounts.from_json(saved["tally"]) if world.leads else SampleCounts()
        state = dataclasses.replace(state, **{name: saved[name] for name in counts}, sample_counts=sample_counts)
    return state


def _precision(run: Run, world: World, newest: Path | None) -> Precision:
    """That of the checkpoint, or what the run wants on this machine."""
    saved = checkpoints.read_progress(newest)["precision"] if newest else None
    return saved or resolve_precision(run.precision, world.device)
