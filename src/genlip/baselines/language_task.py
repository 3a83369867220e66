"""GenLIP that starts from a language model: its blocks, and if asked its weights and words (PAPER: against SAIL).

In: a `LanguageRun`. Out: what the engine asks of a task. `language.weights` false trains the same architecture from random
weights.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genlip.baselines.arm_task import arm_folder, write_arm
from genlip.baselines.language_trunk import LanguageSizes, LanguageTrunk, language_trunk_flops, trunk_config
from genlip.baselines.run import LanguageRun
from genlip.data.sources import Source
from genlip.evaluate.held_out import held_out
from genlip.mllm.language import build_language_model, language_config, load_language_weights
from genlip.model.attention_choice import resolve_attention
from genlip.model.flops import Load
from genlip.model.pack import Pack
from genlip.train.genlip_task import GenLIPTask
from genlip.train.task import HeldOutSet, Measured

__all__ = ["LanguageTask"]

_LANGUAGE = "language"  # folder of the language model's config in that of an arm


class LanguageTask(GenLIPTask):
    """Trains a `LanguageTrunk` to predict captions. It speaks none: generation knows GenLIP's blocks alone."""

    run: LanguageRun

    def __init__(self, run: LanguageRun, processor: str) -> None:
        super().__init__(run, processor)
        self.language = language_config(run.language.model)
        self.sizes = LanguageSizes.read(self.language, run.language.gated)
        self.config = trunk_config(run.model, self.language)

    @classmethod
    def moved(cls, run: LanguageRun, arm: Path) -> LanguageRun:
        """The run with the language model's config as an arm stores it."""
        language = dataclasses.replace(run.language, model=str(arm / _LANGUAGE), weights=False)
        return dataclasses.replace(run, language=language)

    @classmethod
    def find_processor(cls, run: Any, source: Source, newest: Path | None) -> str:
        """As GenLIP's. Refuses `init_from` and DropPath."""
        if run.init_from or run.model.drop_path_rate:
            raise ValueError(
                f"init_from {run.init_from!r} and model.drop_path_rate {run.model.drop_path_rate}: runs of task {run.task} "
                "start from language.model and have no DropPath; set --init_from '' --model.drop_path_rate 0"
            )
        return super().find_processor(run, source, newest and arm_folder(newest))

    def attention(self, device: torch.device, dtype: torch.dtype) -> str:
        """The backend that `attention` of the run means here, for heads of the language model's size."""
        return resolve_attention(self.run.attention, device, dtype, self.sizes.head_dim)

    def build(self, attention: str) -> LanguageTrunk:
        """A model with random weights."""
        model = LanguageTrunk(self.config, self.sizes, attention)
        model.activation_checkpointing = self.run.activation_checkpointing
        return model

    def load_initial(self, model: Any) -> None:
        """The weights of the language model, if the run asks for them. Raises ValueError where vocabularies differ."""
        name, words = self.run.language.model, self.run.tokenizer == self.run.language.model
        if not self.run.language.weights:
            return
        if words and self.language.vocab_size != self.config.vocab_size:
            raise ValueError(
                f"model.vocab_size is {self.config.vocab_size}, and {name} has {self.language.vocab_size} tokens: set "
                f"--model.vocab_size {self.language.vocab_size}"
            )
        language = build_language_model(self.language, self.language.vocab_size)
        load_language_weights(language, name)
        model.start_from(language, words)

    def flops(self, pack: Pack) -> float:
        """Work of a forward and a backward pass."""
        return language_trunk_flops(self.config, self.sizes, Load.of_pack(pack))

    def validate(self, model: Any, on: HeldOutSet) -> Measured:
        """Held-out loss and picture gain."""
        found = held_out(model, on.samples)
        return Measured({"loss": found.loss, "picture_gain": found.picture_gain}, unit="nats per token")

    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """A folder `arm`, which `genlip.baselines.arm_task.load_encoder` reads."""
        write_arm(self, folder, weights)
        self.language.save_pretrained(arm_folder(folder) / _LANGUAGE)
