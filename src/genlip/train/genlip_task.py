"""The GenLIP task: trains the model of the paper on images with captions (arXiv 2605.00809, section 3).

In: a `Run`. Out: what the engine asks of a task (genlip.train.task): caption loss on packs, held-out loss and picture gain,
spoken captions, and the folder that `genlip.load` reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from genlip.data.captions import Captions, load_tokenizer, train_tokenizer
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.data.samples import SampleReader
from genlip.data.sources import Source, corpus
from genlip.evaluate.captioning.generated import generate_captions
from genlip.evaluate.held_out import held_out
from genlip.model import checkpoint
from genlip.model.attention_choice import resolve_attention
from genlip.model.config import GenLIPConfig
from genlip.model.flops import training_flops
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.recipes.run import Run
from genlip.speaker import Speaker
from genlip.train.task import HeldOutSet, Measured, PackTask

__all__ = ["GenLIPTask"]

_TOKENIZER_CORPUS = 20_000  # captions from which a tokenizer is learned
_MAX_TOKENS = 96  # of a caption spoken during training


class GenLIPTask(PackTask):
    """Trains a `GenLIP` to predict captions; its processor is the tokenizer, as the text of tokenizer.json."""

    def __init__(self, run: Run, processor: str) -> None:
        self.run = run
        self.captions = Captions(Tokenizer.from_str(processor), run.captions, run.model.vocab_size)

    @classmethod
    def find_processor(cls, run: Run, source: Source, newest: Path | None) -> str:
        """The tokenizer of the checkpoint, of `init_from` or of `tokenizer`, or one trained on the captions."""
        if newest is not None:
            return load_tokenizer(newest).to_str()
        try:
            given = checkpoint.checkpoint_folder(run.init_from) if run.init_from else None
        except checkpoint.CheckpointError as error:
            raise checkpoint.CheckpointError(
                f"{error}; it is init_from: train that model first, or set --init_from"
            ) from error
        if run.tokenizer != "bpe":
            tokenizer = load_tokenizer(run.tokenizer)
            if given is not None and (Path(given) / "tokenizer.json").is_file():
                _check_same_words(run, tokenizer, load_tokenizer(given))
            return tokenizer.to_str()
        if given is not None:
            return load_tokenizer(given).to_str()
        return train_tokenizer(corpus(source, _TOKENIZER_CORPUS), run.model.vocab_size).to_str()

    def reader(self, source: Source) -> SampleReader:
        """Reads images with captions as the run prepares them."""
        run = self.run
        return SampleReader(source, run.images, self.captions, run.model, run.seed, run.packing.max_tokens)

    def attention(self, device: torch.device, dtype: torch.dtype) -> str:
        """The backend that `attention` of the run means here."""
        return resolve_attention(self.run.attention, device, dtype, self.run.model.head_dim)

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

    def idle(self) -> Pack:
        """One empty patch, and one token that is not supervised."""
        return Pack.of([Sample(np.zeros((1, self.run.model.patch_dim), np.uint8), (1, 1), [0], [False])])

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


def _check_same_words(run: Run, wanted: Tokenizer, learned: Tokenizer) -> None:
    """Refuse a tokenizer in which a token stands for another text than in the one that the weights were trained with."""
    old, new = ({number: token for token, number in one.get_vocab().items()} for one in (learned, wanted))
    for number in sorted(old.keys() & new.keys()):
        if old[number] != new[number]:
            raise ValueError(
                f"tokenizer {run.tokenizer} is not that of init_from {run.init_from}: token {number} is {new[number]!r}, "
                f"and was {old[number]!r} when its weights were learned; set --tokenizer bpe, which takes that of init_from"
            )
