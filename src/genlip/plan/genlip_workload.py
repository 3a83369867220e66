"""GenLIP's workload: an image with its caption is one sample, all of whose parameters are trained.

In: a `Run` of the task "genlip". Out: its figures for a plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from genlip.model.flops import Load, Parameters, StepFlops, parameters, step_flops
from genlip.plan.memory_model import Memory, Sharing, memory
from genlip.plan.simulation import Packs, Sizes, draw_packs
from genlip.plan.workload import Assumptions, Workload
from genlip.recipes.run import Run
from genlip.report.formatting import large_count

__all__ = ["GenLIPWorkload"]

_TEXT = 74  # assumed text tokens of a sample: the mean of the paper's first stage
_PATCHES = 0.75  # assumed share of patches in a native sample


class GenLIPWorkload(Workload):
    """The figures of a GenLIP."""

    work: ClassVar[Mapping[str, str]] = {
        "patch_embedding": "patch embedding",
        "projections": "attention projections",
        "scores": "attention scores",
        "feed_forward": "feed-forward",
        "head": "head",
    }

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def parameters(self) -> Parameters:
        """See `genlip.model.flops.Parameters`."""
        return parameters(self.run.model)

    @property
    def trained(self) -> int:
        """All of them."""
        return self.parameters.total

    def gathered(self, product_bytes: int) -> float:
        """All of them, in float32."""
        return 4.0 * self.trained

    def model_line(self) -> str:
        """Trunk and text."""
        found = self.parameters
        text = large_count(found.total - found.trunk)
        return f"{large_count(found.trunk)} trunk + {text} text tables and maps = {large_count(found.total)} parameters"

    def parameters_json(self) -> dict[str, Any]:
        """Parts, trunk and total."""
        found = self.parameters
        return {**found._asdict(), "trunk": found.trunk, "total": found.total}

    def fill_in(self, given: Assumptions) -> tuple[Assumptions, tuple[str, ...]]:
        """Patches from a fixed size, and text from the mean length of samples in `packing.batch`."""
        run, guesses = self.run, []
        known = run.packing.tokens_per_sample
        patches, text = given.patches, given.text
        if not patches and run.images.resize == "fixed":
            patches = float((run.images.size // run.model.patch_size) ** 2)
        elif not patches:
            total = known or 4.0 * _TEXT
            patches = min(max(total - text if text else _PATCHES * total, run.images.min_patches), run.images.max_patches)
            guesses.append(f"{patches:,.0f} patches an image (--patches)")
        if not text and known > patches:
            text = known - patches
        elif not text:
            text = float(min(_TEXT, run.captions.max_tokens))
            guesses.append(f"{text:,.0f} text tokens a sample (--text)")
        return dataclasses.replace(given, patches=patches, text=text, supervised=1.0), tuple(guesses)

    def rows(self, assumed: Assumptions) -> float:
        """Patches and text."""
        return assumed.patches + assumed.text

    def sample_line(self, assumed: Assumptions) -> str:
        """Patches and text."""
        return f"{assumed.patches:,.0f} patches + {assumed.text:,.0f} text tokens"

    def flops(self, assumed: Assumptions) -> StepFlops:
        """See `genlip.model.flops.step_flops`."""
        return step_flops(self.run.model, _load(assumed))

    def draw(self, assumed: Assumptions) -> Packs:
        """Packs of samples whose text, and whose native image, has a random size."""
        run = self.run
        low, high = (run.images.min_patches, run.images.max_patches)
        limits = (assumed.patches, assumed.patches) if run.images.resize == "fixed" else (float(low), float(high))
        longest = max(assumed.text, float(run.captions.max_tokens))
        sizes = Sizes(assumed.patches, limits, assumed.text, longest, assumed.decode / 1e3, assumed.spread)
        return draw_packs(run.model, sizes, run.packing.max_tokens, run.activation_checkpointing, seed=run.seed)

    def memory(
        self, assumed: Assumptions, max_tokens: int, sharing: Sharing, product_bytes: int, activation_checkpointing: bool
    ) -> Memory:
        """See `genlip.plan.memory_model`."""
        return memory(
            self.run.model,
            _load(assumed).times(max_tokens / self.rows(assumed)),
            sharing,
            product_bytes=product_bytes,
            activation_checkpointing=activation_checkpointing,
            muon=self.run.optimizer.kind == "muon",
            average=self.run.ema > 0,
        )


def _load(assumed: Assumptions) -> Load:
    return Load.of_samples([(assumed.patches, assumed.text)])
