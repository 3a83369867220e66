"""Plan: the memory and time that a run needs, and advice, as figures.

In: a `Run` on some hardware, and `Assumptions`. Out: memory, days, and scaling over numbers of accelerators.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from genlip.model.flops import Load, Parameters, StepFlops
from genlip.plan.hardware import Hardware
from genlip.plan.memory_model import Memory, Sharing, memory
from genlip.plan.simulation import Outcome
from genlip.recipes.run import Run
from genlip.report.formatting import counted

__all__ = ["Assumptions", "Plan", "Scaling", "run_memory"]


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Values that are not in a recipe. 0 means the value that the recipe implies, or else a guess that the plan names.

    Attributes:
        utilisation: share of the accelerator's matrix rate that training reaches, recomputation included.
        reserved: share of memory left free for CUDA, NCCL and fragmentation.
        node: number of accelerators of a node.
        network: GB/s of one accelerator to other nodes, one direction; 50 is one 400 Gbit/s card each.
        reached: share of links' rates that collectives reach.
        patches: mean number of patches of an image.
        text: mean number of text tokens of a sample, prompt and end included.
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
    examples: int = 0
    workers: int = 0
    decode: float = 2.5
    spread: float = 0.5
    jitter: float = 0.03

    def __post_init__(self) -> None:
        for name in ("utilisation", "reached"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a share above 0 and at most 1")
        if min(dataclasses.astuple(self)) < 0 or min(self.node, self.network) <= 0 or self.reserved >= 1:
            raise ValueError(f"{self}: node and network must be positive, reserved below 1, and nothing negative")


class Scaling(NamedTuple):
    """The simulated run on one number of accelerators."""

    gpus: int
    rows: int
    samples_per_second: float
    days: float
    outcome: Outcome


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """The needs of a run; times in seconds, sizes in bytes, work in FLOPs.

    Attributes:
        run: the planned run.
        hardware: one accelerator.
        sharing: how the model is distributed over all accelerators.
        assumed: all assumptions, with zeros replaced.
        guesses: the assumptions that neither the recipe nor the caller gave, in words.
        parameters: of the model.
        flops: of one sample.
        product_bytes: 2 for bfloat16 products, 4 for float32.
        packs: of an update, over all ranks.
        samples_per_update: on average.
        updates: of the run; 0 if its end is not known.
        seconds: of an update, without waiting for data or links.
        kept: memory without activation checkpointing.
        recomputed: memory with activation checkpointing.
        scaling: simulated numbers of accelerators, this one among them.
        warnings: problems, each with the setting to change.
        notes: possible improvements.
    """

    run: Run
    hardware: Hardware
    sharing: Sharing
    assumed: Assumptions
    guesses: tuple[str, ...]
    parameters: Parameters
    flops: StepFlops
    product_bytes: int
    packs: int
    samples_per_update: float
    updates: int
    seconds: float
    kept: Memory
    recomputed: Memory
    scaling: tuple[Scaling, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def memory(self) -> Memory:
        """Memory with the recipe's own setting of activation checkpointing."""
        return self.recomputed if self.run.activation_checkpointing else self.kept

    @property
    def usable(self) -> float:
        """Bytes of an accelerator that a run may use."""
        return self.hardware.memory * (1 - self.assumed.reserved)

    @property
    def days(self) -> float:
        """Days of the run, without waiting for data or links; 0 if its end is not known."""
        return self.updates * self.seconds / 86_400

    def memory_with(self, max_tokens: int, sharing: Sharing, activation_checkpointing: bool) -> Memory:
        """Memory of the same run with another pack size, sharing or activation checkpointing."""
        return run_memory(self.run, self.assumed, max_tokens, sharing, self.product_bytes, activation_checkpointing)

    @property
    def rows(self) -> int:
        """The most packs that a rank computes in an update."""
        return -(-self.packs // self.sharing.ranks)

    @property
    def on_cpu(self) -> bool:
        """Is the plan for this machine's processor, which the ranks then share?"""
        return self.hardware.name == "cpu"

    def processors(self, number: int) -> str:
        """A number of ranks in words: "8 GPUs", or "2 processes" on a processor."""
        return counted(number, "process" if self.on_cpu else "GPU")

    def __repr__(self) -> str:
        """One line; `genlip.plan_text` gives the tables of `genlip plan`."""
        size = f"{self.parameters.total / 1e6:,.1f} M parameters, {self.memory.total / 2**30:.1f} GiB"
        return f"<Plan of {self.run!r} on {self.sharing.ranks} x {self.hardware.name}: {size}, {self.days:.3g} days>"

    def to_json(self) -> dict[str, Any]:
        """Every figure, for `json.dumps`."""
        return {
            "gpu": dataclasses.asdict(self.hardware),
            "sharing": {**dataclasses.asdict(self.sharing), "shards": self.sharing.shards},
            "assumed": dataclasses.asdict(self.assumed),
            "guesses": list(self.guesses),
            "parameters": {**self.parameters._asdict(), "trunk": self.parameters.trunk, "total": self.parameters.total},
            "flops_per_sample": {
                **{name: part._asdict() for name, part in self.flops._asdict().items()},
                "total": self.flops.total(self.run.activation_checkpointing),
            },
            "precision": "bfloat16" if self.product_bytes == 2 else "float32",
            "packs_per_update": self.packs,
            "packs_per_rank": self.rows,
            "samples_per_update": self.samples_per_update,
            "updates": self.updates,
            "seconds_per_update": self.seconds,
            "days": self.days,
            "memory": {
                "usable": self.usable,
                "kept": {**self.kept._asdict(), "total": self.kept.total},
                "recomputed": {**self.recomputed._asdict(), "total": self.recomputed.total},
                "activation_checkpointing": self.run.activation_checkpointing,
            },
            "scaling": [
                {
                    "gpus": at.gpus,
                    "packs_per_rank": at.rows,
                    "samples_per_second": at.samples_per_second,
                    "days": at.days,
                    "seconds_per_update": at.outcome.seconds,
                    "efficiency": at.outcome.efficiency,
                    "lost": at.outcome.lost,
                    "bottleneck": at.outcome.bottleneck,
                }
                for at in self.scaling
            ],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def run_memory(
    run: Run, assumed: Assumptions, max_tokens: int, sharing: Sharing, product_bytes: int, activation_checkpointing: bool
) -> Memory:
    """Memory of a run with packs of `max_tokens` rows and this sharing."""
    sample = Load.of_samples([(assumed.patches, assumed.text)])
    return memory(
        run.model,
        sample.times(max_tokens / sample.rows),
        sharing,
        product_bytes=product_bytes,
        activation_checkpointing=activation_checkpointing,
        muon=run.optimizer.kind == "muon",
        average=run.ema > 0,
    )
