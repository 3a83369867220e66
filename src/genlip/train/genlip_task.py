"""The GenLIP task: trains the model of the paper on images with captions (arXiv 2605.00809, section 3).

In: a `Run`. Out: what the engine asks of a task (genlip.train.task): caption loss on packs, held-out loss and picture gain,
spoken captions, and the folder that `genlip.load` reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.evaluate.captioning.generated import generate_captions
from genlip.evaluate.held_out import held_out
from genlip.model import checkpoint
from genlip.model.config import GenLIPConfig
from genlip.model.flops import training_flops
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.recipes.run import Run
from genlip.speaker import Speaker
from genlip.train.captioned_task import CaptionedTask
from genlip.train.task import HeldOutSet, Measured, PackTask

__all__ = ["GenLIPTask"]

_MAX_TOKENS = 96  # of a caption spoken during training


class GenLIPTask(CaptionedTask, PackTask):
    """Trains a `GenLIP` to predict captions."""

    def build(self, attention: str) -> GenLIP:
        """A model of the run's sizes with random weights."""
        model = GenLIP(self.run.model, attention)
        model.activation_checkpointing = self.run.activation_checkpointing
        return model

    def load_initial(self, model: GenLIP) -> None:
        """The weights of `init_from`, if there is one; its sizes must be those of the run."""
        if not self.run.init_from:
            return
        given = checkpoint.load(self.run.init_from, dtype=torch.get_default_dtype())
        _check_same_shape(self.run, given.config)
        model.load_state_dict(given.state_dict())

    def blocks(self, model: GenLIP) -> Sequence[nn.Module]:
        """The trunk's blocks."""
        return list(model.blocks)

    def compile(self, model: GenLIP) -> None:
        """Compile each block; attention stays as it is."""
        model.compile_blocks()

    def flops(self, pack: Pack) -> float:
        """Work of a forward and a backward pass."""
        return training_flops(self.run.model, pack)

    def loss(self, model: GenLIP, pack: Pack) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy of the supervised tokens in nats, and their number."""
        return model(pack), pack.supervised.sum()

    def validate(self, model: GenLIP, on: HeldOutSet) -> Measured:
        """Held-out loss and picture gain, and captions of the first images."""
        found = held_out(model, on.samples)
        model.eval()
        speaker = Speaker(model, self.run.images, self.captions)
        chosen = range(min(self.run.spoken, len(on.source)))
        spoken = generate_captions(speaker, on.source, chosen, max_tokens=_MAX_TOKENS)
        return Measured({"loss": found.loss, "picture_gain": found.picture_gain}, spoken, "nats per token")

    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Weights, config, tokenizer and preprocessing."""
        checkpoint.save_weights(weights, self.run.model, folder)
        preprocessing = Preprocessing(images=self.run.images, captions=self.run.captions)
        save_preprocessing(folder, preprocessing, self.captions.tokenizer)


def _check_same_shape(run: Run, given: GenLIPConfig) -> None:
    wanted, found = dataclasses.asdict(run.model), dataclasses.asdict(given)
    training_only = {"drop_path_rate", "ls_init_value"}
    if wrong := [f"{k} {found[k]}, not {wanted[k]}" for k in wanted if found[k] != wanted[k] and k not in training_only]:
        raise ValueError(
            f"init_from {run.init_from} is another model than the recipe's ({'; '.join(wrong)}): set --model {run.init_from}"
        )
