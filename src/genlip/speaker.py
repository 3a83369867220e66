"""Speaker: a model with its preprocessing, from pictures to features, captions and what every patch says.

In: paths, bytes or Pillow images. Out: tensors and texts. This is what the commands `caption`, `encode` and `readout` call.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor

from genlip.data.captions import Captions, load_tokenizer
from genlip.data.images import ImageConfig, ImageLike
from genlip.data.packing import pack_images
from genlip.data.preprocessing import load_preprocessing
from genlip.model.checkpoint import checkpoint_folder, load
from genlip.model.generation import Decoding, generate, generate_steps, patch_readout
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack

__all__ = ["Features", "PatchWords", "Speaker"]


class Features(NamedTuple):
    """Encoder features of one picture: Float[rows * columns, D], row-major, and its grid."""

    patches: Tensor
    grid: tuple[int, int]


class PatchWords(NamedTuple):
    """What the patches of one picture would say: for each patch k (token, probability) pairs, likeliest first."""

    grid: tuple[int, int]
    words: list[list[tuple[str, float]]]


class Speaker:
    """A GenLIP that takes pictures as they come.

    >>> speaker = Speaker.load("runs/quickstart/model")  # doctest: +SKIP
    >>> speaker.caption(["photo.jpg"])  # doctest: +SKIP
    """

    def __init__(self, model: GenLIP, images: ImageConfig, captions: Captions | None = None) -> None:
        """`captions` may be None: the model then gives features, but cannot speak."""
        self.model = model
        self.images = images
        self._captions = captions

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        prompt: str | None = None,
        **images: Any,
    ) -> Speaker:
        """Load a model's folder or Hub repository with its preprocessing.

        tokenizer  a tokenizer.json, folder or Hub id, if the folder has none
        prompt     replaces the prompt that the model was trained with
        images     fields of `ImageConfig` to replace, such as resize="native" or size=448
        """
        folder = checkpoint_folder(path_or_hub_id, revision)
        model = load(folder, device=device, dtype=dtype)
        settings, found = load_preprocessing(folder)
        found = load_tokenizer(tokenizer) if tokenizer is not None else found
        wording = settings.captions if prompt is None else dataclasses.replace(settings.captions, prompt=prompt)
        captions = Captions(found, wording, model.config.vocab_size) if found else None
        return cls(model, dataclasses.replace(settings.images, **images), captions)

    @property
    def captions(self) -> Captions:
        """Tokenizer and wording. Raises ValueError where the model came without a tokenizer."""
        if self._captions is None:
            raise ValueError(
                "this model came without a tokenizer.json; name one, for published models Qwen/Qwen3-0.6B "
                '(Speaker.load(..., tokenizer="Qwen/Qwen3-0.6B"), --tokenizer on the command line)'
            )
        return self._captions

    @torch.inference_mode()
    def encode(self, pictures: Sequence[ImageLike]) -> list[Features]:
        """Encoder features of every patch: the last block's output after `ln_post`. Raises `ImageError`."""
        if not pictures:
            return []
        pack = self._pack(pictures, with_prompt=False)
        features = self.model.encode(pack).split(list(pack.patch_counts))
        return [Features(rows, grid) for rows, grid in zip(features, pack.grids, strict=True)]

    def caption(self, pictures: Sequence[ImageLike], **decoding: Any) -> list[str]:
        """A caption for each picture; keywords are fields of `Decoding`. Raises `ImageError`."""
        if not pictures:
            return []
        pack = self._pack(pictures, with_prompt=True)
        return [self.captions.decode(ids) for ids in generate(self.model, pack, self.decoding(**decoding))]

    def stream(self, picture: ImageLike, **decoding: Any) -> Iterator[str]:
        """The caption of one picture, piece by piece as it is spoken; the pieces join to the whole."""
        pack = self._pack([picture], with_prompt=True)
        text = DecodeStream(skip_special_tokens=True)
        for (token,) in generate_steps(self.model, pack, self.decoding(**decoding)):
            piece = text.step(self.captions.tokenizer, token)
            if piece:
                yield piece

    def readout(self, pictures: Sequence[ImageLike], k: int = 5) -> list[PatchWords]:
        """The k tokens that each patch would most likely say next. Raises `ImageError`."""
        if not pictures:
            return []
        pack = self._pack(pictures, with_prompt=False)
        chances, tokens = (part.split(list(pack.patch_counts)) for part in patch_readout(self.model, pack, k))
        return [
            PatchWords(grid, [[(self.captions.piece(t), round(c, 4)) for c, t in zip(*row, strict=True)] for row in rows])
            for grid, rows in (
                (grid, list(zip(c.tolist(), t.tolist(), strict=True)))
                for grid, c, t in zip(pack.grids, chances, tokens, strict=True)
            )
        ]

    def decoding(self, **changes: Any) -> Decoding:
        """Greedy decoding that ends where this model's captions end, with fields replaced."""
        return dataclasses.replace(Decoding(end_ids=(self.captions.end_ids[0],)), **changes)

    def _pack(self, pictures: Sequence[ImageLike], with_prompt: bool) -> Pack:
        prompt = self.captions.prompt_ids if with_prompt else []
        return pack_images(pictures, self.images, self.model.config, prompt).to(self.model.device)
