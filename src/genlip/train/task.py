"""Task: what the training engine asks of whatever it trains. The engine knows the model through these methods alone.

In: a `Run` whose `task` names the class (genlip.recipes.tasks). Out: the model, its samples and packs, losses, measurements
and the exported folder. A task has one of two forms:

    PackTask    the loss of a pack, as a sum with the number of terms in it, such as the cross-entropy of its tokens
    UpdateTask  embeddings of a pack, and a loss of the embeddings of all packs and ranks of an update, such as SigLIP's

The engine adds sums and counts over packs and ranks and divides once, so the result does not depend on how the samples of
an update are distributed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genlip.data.samples import Reader
from genlip.data.sources import Source, open_source
from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.recipes.run import Run
from genlip.recipes.tasks import TASKS, import_object

__all__ = ["HeldOutSet", "Measured", "PackTask", "ParameterGroup", "Task", "UpdateTask", "task_class"]

# Each task has types of its own, which the engine only passes on.
Model = Any  # an nn.Module
Pack = Any  # a genlip.data.samples.Packed


@dataclass(frozen=True)
class HeldOutSet:
    """What a run is measured on: usable samples from all over the held-out source, and the source itself."""

    samples: Sequence[Any]
    source: Source


@dataclass(frozen=True)
class Measured:
    """What a task measured on the held-out set.

    Attributes:
        figures: by name; "loss" is among them.
        spoken: a few held-out images with true and generated captions; may be empty.
        unit: of the figures, for messages.
    """

    figures: Mapping[str, float]
    spoken: Sequence[GeneratedCaption] = ()
    unit: str = ""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate: that of the schedule times `rate_scale`."""

    parameters: Sequence[nn.Parameter]
    rate_scale: float = 1.0


class Task(ABC):
    """What both forms have in common. A task inherits from `PackTask` or `UpdateTask`, which have the defaults below.

    The model is an `nn.Module` whose state is its parameters: buffers are not saved, and follow from the run. A single
    number is a parameter of shape [1], because FSDP takes no scalars. In training, the model draws random numbers from
    PyTorch's global generators only, which the engine seeds for each pack. Every parameter that is trained gets a gradient
    from every pack, the idle one too, because DDP waits for all of them. Every pack, the idle one too, calls every block in
    the same order, frozen ones too, because FSDP gathers the weights of a block from all ranks when it is called. A pack
    without an image runs the encoder on one empty patch, whose output is multiplied by 0.
    """

    @abstractmethod
    def __init__(self, run: Any, processor: str) -> None:
        """`run` is of the class that the task's entry in `TASKS` names; `processor` is what `find_processor` returned."""

    @classmethod
    @abstractmethod
    def find_processor(cls, run: Any, source: Source, newest: Path | None) -> str:
        """What the run needs besides weights to prepare samples, as a text: the tokenizer. Rank 0 calls it for all.

        newest  the checkpoint that the run is resumed from, which holds what `export` wrote; None in a new run

        Raises ValueError or OSError.
        """

    @classmethod
    def open_source(cls, run: Any, spec: str) -> Any:
        """Open the training data or the held-out data by its name or path: images with captions, unless a task reads others.

        Raises ValueError or OSError.
        """
        return open_source(spec, run.data.fields, allow_outside=run.data.allow_outside)

    @abstractmethod
    def reader(self, source: Source) -> Reader:
        """Turns the examples of a source into samples, and samples into packs of at most `run.packing.max_tokens` rows."""

    def attention(self, device: torch.device, dtype: torch.dtype) -> str:
        """The name of the attention backend that the run means on this device; all ranks take that of rank 0.

        The engine passes it to `build` and logs it. A task without a choice of backends keeps this default.
        """
        return "none"

    @abstractmethod
    def build(self, attention: str) -> Model:
        """A model with random weights, which the engine has seeded, with `run.activation_checkpointing` applied.

        The engine also calls it on the meta device. Parameters that are never trained have `requires_grad` False.
        """

    @abstractmethod
    def load_initial(self, model: Model) -> None:
        """Replace the weights of the model of a new run by those that it starts with, such as those of `run.init_from`.

        A run that starts with random weights keeps those of `build`. Raises ValueError if weights do not fit.
        """

    def store_frozen(self, model: Model, dtype: torch.dtype) -> None:
        """Called once the weights are there, with the dtype of the matrix products: parameters that are not trained may be
        stored in it. By default they stay as they are."""
        return

    def blocks(self, model: Model) -> Sequence[nn.Module]:
        """The layers that FSDP shards one by one and that `run.compile` compiles one by one.

        Every pack calls each of them, frozen ones too, in the same order.
        """
        return ()

    def compile(self, model: Model) -> None:
        """Compile the blocks with torch.compile."""
        for block in self.blocks(model):
            block.compile(dynamic=True)

    def parameter_groups(self, model: Model) -> Sequence[ParameterGroup]:
        """Every parameter that is trained, in exactly one group, and no other; the engine checks it.

        The engine has set `requires_grad` to False for the parameters that `run.freeze` names.
        """
        return [ParameterGroup([p for p in model.parameters() if p.requires_grad])]

    def matrices(self, model: Model) -> Sequence[nn.Parameter]:
        """The parameters whose updates Muon orthogonalises where `run.optimizer.kind` is "muon"; AdamW takes the others."""
        return [p for block in self.blocks(model) for p in block.parameters() if p.dim() == 2]

    @abstractmethod
    def idle(self) -> Pack:
        """A pack for ranks that have none: as short as possible; its loss, terms and gradients are exactly 0.

        Of an `UpdateTask`, any short pack: its embeddings are not used.
        """

    @abstractmethod
    def flops(self, pack: Pack) -> float:
        """Work of a forward and a backward pass over a pack, without what activation checkpointing repeats."""

    @abstractmethod
    def validate(self, model: Model, on: HeldOutSet) -> Measured:
        """Measure the whole model on rank 0, under the autocast of training; it may leave `model` in eval mode."""

    @abstractmethod
    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the folder that users load, with the whole weights by name; a checkpoint holds the same files.

        A parameter that has several names, such as tied weights, has the first of them, as in `named_parameters()`.
        """


class PackTask(Task):
    """A task with a loss that is a sum over the packs of an update."""

    @abstractmethod
    def loss(self, model: Model, pack: Pack) -> tuple[Tensor, Tensor | int]:
        """Float[], the loss of a pack as a sum that can be differentiated, and the number of terms in the sum."""


class UpdateTask(Task):
    """A task whose loss relates samples of all packs and ranks, such as the loss of all pairs of images and texts."""

    @abstractmethod
    def embed(self, model: Model, pack: Pack) -> Tensor:
        """Float[k ..], embeddings of the k samples of a pack; all axes but the first have the same size in every pack.

        Called twice for each pack, with the same random numbers: first without gradients, then with them.
        """

    @abstractmethod
    def loss_of_all(self, model: Model, embeddings: Tensor) -> tuple[Tensor, Tensor | int]:
        """Float[], the loss of all embeddings of an update as a sum, and the number of terms in it.

        embeddings  Float[k ..]  of all packs and ranks, in the order of the update's rows

        It may use parameters that do not lie in `blocks`, such as a temperature; `embed` may use the same ones. Those of
        blocks are not available under FSDP, which gathers them only when the block is called.

        Called outside autocast, with embeddings in float32 or better, through `full_precision_loss`. All ranks compute it
        with the same random numbers, which follow from the seed and the update.
        """

    def full_precision_loss(self, model: Model, embeddings: Tensor) -> tuple[Tensor, Tensor | int]:
        """`loss_of_all` as training calls it: outside autocast, in float32 or better. `validate` can call this, too."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.loss_of_all(model, embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)))


def task_class(run: Run) -> type[PackTask | UpdateTask]:
    """The class of the run's task. Raises ValueError if the run is of another class than the task's recipes."""
    entry = TASKS[run.task]
    wanted: type[Run] = import_object(entry.run)
    if not isinstance(run, wanted):
        raise ValueError(
            f"the run is a {type(run).__name__}, and recipes of task {run.task} are {wanted.__name__}: read the recipe "
            "with load_recipe"
        )
    found: type[PackTask | UpdateTask] = import_object(entry.task)
    return found
