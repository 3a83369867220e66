"""Variants of GenLIP: registers before the patches, and patches that are dropped in training.

In: a `VariantRun`. Out: what the engine asks of a task, as of GenLIP. With `model.gated_attention` false, the paper's arms
without the gate and with 1 or 4 registers (section 5) are runs of this task.

Axes: s samples, p patches, t text tokens of a pack, r registers of an image, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genlip.baselines.arm_task import arm_folder, write_arm
from genlip.baselines.rows import drop_patches, kept_patches
from genlip.baselines.run import VariantRun
from genlip.data.sources import Source
from genlip.evaluate.held_out import held_out
from genlip.model.config import GenLIPConfig
from genlip.model.device_transfer import on_device
from genlip.model.flops import Load, step_flops
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.train.genlip_task import GenLIPTask
from genlip.train.task import HeldOutSet, Measured

__all__ = ["RegisterGenLIP", "VariantTask", "with_registers"]


class RegisterGenLIP(GenLIP):
    """A GenLIP with learned rows before the patches of each image, which are not among its features. It does not speak."""

    def __init__(self, config: GenLIPConfig, registers: int, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.registers = nn.Parameter(torch.empty(registers, config.hidden_size).normal_(std=0.02))

    def trunk(self, pack: Pack, predicting: bool = False, attend: Callable[..., Tensor] | None = None) -> Tensor:
        """See `GenLIP.trunk`; the rows of registers are left out."""
        wider, place = with_registers(pack, len(self.registers))
        rows = super().trunk(wider, predicting, attend)
        if predicting:
            return rows
        return torch.cat([rows[place], rows[wider.num_patches :]])

    def embed(self, pack: Pack) -> Tensor:
        """Float[n D] of a pack that `with_registers` made."""
        place = _places([count - len(self.registers) for count in pack.patch_counts], len(self.registers), pack)
        patches = self.embed_patches(pack.patches[place])
        rows = self.registers.to(patches.dtype).repeat(pack.num_samples, 1)
        first = patches.new_empty(pack.num_patches, patches.shape[1])
        others = torch.ones(pack.num_patches, dtype=torch.bool, device=patches.device).index_fill(0, place, False)
        first = first.index_copy(0, place, patches).index_copy(0, others.nonzero()[:, 0], rows)
        return torch.cat([first, self.embed_tokens(pack.token_ids)]).to(self.ln_post.weight.dtype)


def with_registers(pack: Pack, number: int) -> tuple[Pack, Tensor]:
    """A pack with `number` empty rows before the patches of each image, at its first position, and Int64[p], where the
    patches are."""
    counts = pack.patch_counts
    total = pack.num_patches + number * len(counts)
    place = _places(counts, number, pack)
    patches = pack.patches.new_zeros(total, pack.patches.shape[1]).index_copy(0, place, pack.patches)
    positions = pack.positions.new_zeros(3, total).index_copy(1, place, pack.positions[:, : pack.num_patches])
    wider = dataclasses.replace(
        pack,
        patches=patches,
        positions=torch.cat([positions, pack.positions[:, pack.num_patches :]], dim=1),
        grids=tuple((1, count + number) for count in counts),
    )
    return wider, place


def _places(counts: tuple[int, ...] | list[int], number: int, pack: Pack) -> Tensor:
    """Int64[p], the rows of patches where `number` rows lie before those of each image."""
    shifts = np.repeat(number * np.arange(1, len(counts) + 1), counts)
    return on_device(np.arange(len(shifts)) + shifts, pack.positions.device)


class VariantTask(GenLIPTask):
    """Trains a GenLIP with registers or with dropped patches."""

    run: VariantRun

    def build(self, attention: str) -> GenLIP:
        """A model with random weights."""
        registers = self.run.variant.registers
        model = RegisterGenLIP(self.run.model, registers, attention) if registers else GenLIP(self.run.model, attention)
        model.activation_checkpointing = self.run.activation_checkpointing
        return model

    def flops(self, pack: Pack) -> float:
        """Work of a forward and a backward pass over the patches that are kept, and the registers."""
        registers, config = self.run.variant.registers, self.run.model
        read = [kept_patches(count, self.run.variant.kept) for count in pack.patch_counts]
        load = Load.of_samples(zip((count + registers for count in read), pack.text_lengths, strict=True))
        not_projected = 4 * config.patch_dim * config.hidden_size * registers * len(read)
        return step_flops(config, load).total(activation_checkpointing=False) - not_projected

    def loss(self, model: GenLIP, pack: Pack) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy of the supervised tokens in nats, and their number."""
        kept, _ = drop_patches(pack, self.run.variant.kept if model.training else 1.0)
        return super().loss(model, kept)

    def validate(self, model: GenLIP, on: HeldOutSet) -> Measured:
        """As GenLIP's; a model with registers speaks no captions."""
        if not self.run.variant.registers:
            return super().validate(model, on)
        found = held_out(model, on.samples)
        return Measured({"loss": found.loss, "picture_gain": found.picture_gain}, unit="nats per token")

    def load_initial(self, model: GenLIP) -> None:
        """As GenLIP's; a model with registers starts with random weights."""
        if self.run.variant.registers and self.run.init_from:
            raise ValueError(
                f"init_from {self.run.init_from}: a model with registers starts with random weights; set --init_from ''"
            )
        super().load_initial(model)

    @classmethod
    def find_processor(cls, run: Any, source: Source, newest: Path | None) -> str:
        """As GenLIP's; the tokenizer of a model with registers lies in the folder `arm`."""
        if newest is not None and run.variant.registers:
            newest = arm_folder(newest)
        return super().find_processor(run, source, newest)

    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """GenLIP's folder. With registers a folder `arm`, which `load_encoder` reads: others would leave them out."""
        if self.run.variant.registers:
            write_arm(self, folder, weights)
        else:
            super().export(folder, weights)
