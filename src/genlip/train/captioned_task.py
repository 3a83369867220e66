"""Captioned tasks: what all tasks on images with captions share, besides the model and its loss.

In: a `Run`. Out: the tokenizer, the reader of samples, the attention backend, and the idle pack.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from genlip.data.captions import Captions, load_tokenizer, train_tokenizer
from genlip.data.samples import SampleReader
from genlip.data.sources import Source, corpus
from genlip.model import checkpoint
from genlip.model.attention_choice import resolve_attention
from genlip.model.pack import Pack, Sample
from genlip.recipes.run import Run
from genlip.train.task import Task

__all__ = ["CaptionedTask"]

_TOKENIZER_CORPUS = 20_000  # captions from which a tokenizer is learned


class CaptionedTask(Task):
    """A task whose samples are an image and a caption; its processor is the tokenizer, as the text of tokenizer.json."""

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

    def idle(self) -> Pack:
        """One empty patch, and one token that is not supervised."""
        return Pack.of([Sample(np.zeros((1, self.run.model.patch_dim), np.uint8), (1, 1), [0], [False])])


def _check_same_words(run: Run, wanted: Tokenizer, learned: Tokenizer) -> None:
    """Refuse a tokenizer in which a token stands for another text than in the one that the weights were trained with."""
    old, new = ({number: token for token, number in one.get_vocab().items()} for one in (learned, wanted))
    for number in sorted(old.keys() & new.keys()):
        if old[number] != new[number]:
            raise ValueError(
                f"tokenizer {run.tokenizer} is not that of init_from {run.init_from}: token {number} is {new[number]!r}, "
                f"and was {old[number]!r} when its weights were learned; set --tokenizer bpe, which takes that of init_from"
            )
