"""Workload: what a plan asks of the task of a run: parameters, lengths of samples, work, and memory.

In: a `Run` and `Assumptions`. Out: figures by part. The planner knows a task through these methods alone; the parts are the
task's own, and tables show them in the task's words.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from genlip.plan.memory_model import Sharing
from genlip.plan.simulation import Packs
from genlip.recipes.run import Run

__all__ = ["Assumptions", "Parts", "Passes", "Workload"]


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Values that are not in a recipe. 0 means the value that the recipe implies, or else a guess that the plan names.

    Attributes:
        utilisation: share of the accelerator's matrix rate that training reaches, recomputation included.
        reserved: share of memory left free for CUDA, NCCL and fragmentation.
        node: number of accelerators of a node.
        network: GB/s of one accelerator to other nodes, one direction; 50 is one 400 Gbit/s card each.
        reached: share of links' rates that collectives reach.
        patches: mean number of patches of an image; of an MLLM, of all images of a sample.
        text: mean number of text tokens of a sample, prompt and end included.
        supervised: share of the text tokens whose logits are computed; of GenLIP all.
        examples: number in the source, for runs that end after epochs.
        workers: processes of a rank that prepare packs.
        decode: milliseconds that a worker needs for a sample; 2.5 is a JPEG of 1024 x 768 pixels.
        spread: of sizes and of decoding times, standard deviation over mean.
        jitter: of a pack's computing time, standard deviation over mean.
    """

    utilisation: float = 0.4
    reserved: float = 0.1
    node: int = 8
    network: float = 50.0
    reached: float = 0.8
    patches: float = 0
    text: float = 0
    supervised: float = 0
    examples: int = 0
    workers: int = 0
    decode: float = 2.5
    spread: float = 0.5
    jitter: float = 0.03

    def __post_init__(self) -> None:
        for name in ("utilisation", "reached"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a share above 0 and at most 1")
        if self.supervised > 1:
            raise ValueError(f"supervised is {self.supervised}: it must be a share, at most 1")
        if min(dataclasses.astuple(self)) < 0 or min(self.node, self.network) <= 0 or self.reserved >= 1:
            raise ValueError(f"{self}: node and network must be positive, reserved below 1, and nothing negative")


class Parts(Protocol):
    """Figures by part: a named tuple."""

    @property
    def total(self) -> float:
        """All parts together."""

    def _asdict(self) -> dict[str, Any]: ...


class Passes(Protocol):
    """Work of a training step in its three passes; `recomputed` is the additional work of activation checkpointing."""

    @property
    def forward(self) -> Parts:
        """Of the forward pass."""

    @property
    def backward(self) -> Parts:
        """Of the backward pass."""

    @property
    def recomputed(self) -> Parts:
        """Of blocks' second forward pass."""

    def total(self, activation_checkpointing: bool) -> float:
        """Forward and backward, with or without the recomputation."""


class Workload(ABC):
    """The figures of a task for one run.

    Attributes:
        work: headings of the parts of a sample's work, by their names in `flops`.
        run: the planned run.
    """

    work: ClassVar[Mapping[str, str]]
    run: Run

    # -- parameters

    @property
    @abstractmethod
    def parameters(self) -> Parts:
        """Numbers of parameters."""

    @property
    @abstractmethod
    def trained(self) -> int:
        """Number of parameters that have gradients and optimizer states."""

    @abstractmethod
    def gathered(self, product_bytes: int) -> float:
        """Bytes of weights that a sharded model gathers for a pack: the mean of the forward and the backward pass."""

    @abstractmethod
    def model_line(self) -> str:
        """The model in words, for the head of a plan."""

    @abstractmethod
    def parameters_json(self) -> dict[str, Any]:
        """The parameters, for `Plan.to_json`."""

    # -- samples; `assumed` is what `fill_in` returned

    @abstractmethod
    def fill_in(self, given: Assumptions) -> tuple[Assumptions, tuple[str, ...]]:
        """Assumptions with lengths of samples from the recipe, or guessed, and the guesses in words."""

    @abstractmethod
    def rows(self, assumed: Assumptions) -> float:
        """Rows that a mean sample fills in a pack."""

    @abstractmethod
    def sample_line(self, assumed: Assumptions) -> str:
        """The lengths of a mean sample in words."""

    # -- work and memory

    @abstractmethod
    def flops(self, assumed: Assumptions) -> Passes:
        """Work of training on a mean sample once."""

    @abstractmethod
    def draw(self, assumed: Assumptions) -> Packs:
        """Random packs of the run, for the simulation."""

    @abstractmethod
    def memory(
        self, assumed: Assumptions, max_tokens: int, sharing: Sharing, product_bytes: int, activation_checkpointing: bool
    ) -> Parts:
        """Bytes on one accelerator during an update with packs of `max_tokens` rows; `product_bytes` is 2 for bfloat16 and 4
        for float32 products."""
