"""Plan: the memory and time that a run needs, and advice, as figures.

In: a `Run` on some hardware, and `Assumptions`. Out: memory, days, and scaling over numbers of accelerators.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from genlip.plan.hardware import Hardware
from genlip.plan.memory_model import Sharing
from genlip.plan.simulation import Outcome
from genlip.plan.workload import Assumptions, Parts, Passes, Workload
from genlip.recipes.run import Run
from genlip.report.formatting import counted

__all__ = ["Assumptions", "Plan", "Scaling"]


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
        workload: the figures of its task.
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
    workload: Workload
    hardware: Hardware
    sharing: Sharing
    assumed: Assumptions
    guesses: tuple[str, ...]
    parameters: Parts
    flops: Passes
    product_bytes: int
    packs: int
    samples_per_update: float
    updates: int
    seconds: float
    kept: Parts
    recomputed: Parts
    scaling: tuple[Scaling, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def memory(self) -> Parts:
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

    def memory_with(self, max_tokens: int, sharing: Sharing, activation_checkpointing: bool) -> Parts:
        """Memory of the same run with another pack size, sharing or activation checkpointing."""
        return self.workload.memory(self.assumed, max_tokens, sharing, self.product_bytes, activation_checkpointing)

    @property
    def sample_rows(self) -> float:
        """Rows that a mean sample fills in a pack."""
        return self.workload.rows(self.assumed)

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
            "parameters": self.workload.parameters_json(),
            "flops_per_sample": {
                **{name: getattr(self.flops, name)._asdict() for name in ("forward", "backward", "recomputed")},
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
