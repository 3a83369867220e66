"""Speaker: a model with its preprocessing, from images to features, captions and what every patch says.

In: paths, bytes or Pillow images, or what `Speaker.prepare` made of them. Out: tensors and texts. This is what the commands
`caption`, `encode` and `readout` call.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from genlip.data.captions import Captions
from genlip.data.images import ImageConfig, ImageLike, Patches, prepare_image
from genlip.data.packing import pack_images
from genlip.data.preprocessing import load_captions
from genlip.everyday import check_keywords
from genlip.model.checkpoint import checkpoint_folder, load
from genlip.model.decoding import Decoding
from genlip.model.generation import generate, generate_steps, patch_readout
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack

__all__ = ["Features", "PatchWords", "Speaker"]


class Features(NamedTuple):
    """Encoder features of one image: Float[rows * columns, D], row-major, and its grid."""

    patches: Tensor
    grid: tuple[int, int]


class PatchWords(NamedTuple):
    """What the patches of one image would say: for each patch k (token, probability) pairs, likeliest first."""

    grid: tuple[int, int]
    words: list[list[tuple[str, float]]]


class Speaker:
    """A GenLIP that takes images as they come.

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
        named = ("device", "dtype", "revision", "tokenizer", "prompt")
        check_keywords("Speaker.load", images, [*named, *(field.name for field in dataclasses.fields(ImageConfig))])
        folder = checkpoint_folder(path_or_hub_id, revision)
        model = load(folder, device=device, dtype=dtype)
        settings, captions = load_captions(folder, model.config.vocab_size, tokenizer, prompt)
        return cls(model, dataclasses.replace(settings.images, **images), captions)

    @property
    def speaks(self) -> bool:
        """Whether the model came with a tokenizer."""
        return self._captions is not None

    @property
    def captions(self) -> Captions:
        """Tokenizer and wording. Raises ValueError where the model came without a tokenizer."""
        if self._captions is None:
            raise ValueError(
                "this model came without a tokenizer.json: copy it from the folder of the model that it was made from, or "
                "name one, for published models Qwen/Qwen3-0.6B "
                '(Speaker.load(..., tokenizer="Qwen/Qwen3-0.6B"), --tokenizer on the command line)'
            )
        return self._captions

    def prepare(self, image: ImageLike) -> Patches:
        """An image decoded and resized, as the other methods take it too. Raises `ImageError`.

        Small, whatever the size of the image: hold these where many images are gathered.
        """
        return prepare_image(image, self.images, self.model.config)

    @torch.no_grad()  # not inference mode: a probe may be trained on the features
    def encode(self, images: Sequence[ImageLike | Patches], batch_size: int = 16) -> list[Features]:
        """Encoder features of every patch: the last block's output after `ln_post`. Raises `ImageError`."""
        found: list[Features] = []
        for pack in self._packs(images, batch_size, with_prompt=False):
            features = self.model.encode(pack).split(list(pack.patch_counts))
            found += [Features(rows, grid) for rows, grid in zip(features, pack.grids, strict=True)]
        return found

    def caption(self, images: Sequence[ImageLike | Patches], batch_size: int = 16, **decoding: Any) -> list[str]:
        """A caption for each image; keywords are fields of `Decoding`. Raises `ImageError`."""
        settings, captions = self.decoding(**decoding), self.captions
        packs = self._packs(images, batch_size, with_prompt=True)
        return [captions.decode(ids) for pack in packs for ids in generate(self.model, pack, settings)]

    def stream(self, image: ImageLike | Patches, **decoding: Any) -> Iterator[str]:
        """The caption of one image, piece by piece as it is spoken.

        The pieces join to the caption, up to white space around it; what `repetition_stop` cuts has already been said.
        """
        (pack,) = self._packs([image], 1, with_prompt=True)
        steps = generate_steps(self.model, pack, self.decoding(**decoding))
        return self.captions.pieces(token for step in steps for token in step if token is not None)

    def readout(self, images: Sequence[ImageLike | Patches], k: int = 5, batch_size: int = 16) -> list[PatchWords]:
        """The k tokens that each patch would most likely say next. Raises `ImageError`."""
        read: list[PatchWords] = []
        for pack in self._packs(images, batch_size, with_prompt=False):
            chances, tokens = (part.split(list(pack.patch_counts)) for part in patch_readout(self.model, pack, k))
            read += [self._words(grid, c, t) for grid, c, t in zip(pack.grids, chances, tokens, strict=True)]
        return read

    def _words(self, grid: tuple[int, int], chances: Tensor, tokens: Tensor) -> PatchWords:
        def words(ids: list[int], likely: list[float]) -> list[tuple[str, float]]:
            return [(self.captions.piece(i), round(chance, 4)) for i, chance in zip(ids, likely, strict=True)]

        return PatchWords(grid, [words(t, c) for t, c in zip(tokens.tolist(), chances.tolist(), strict=True)])

    def decoding(self, **changes: Any) -> Decoding:
        """Greedy decoding that ends where this model's captions end, with fields replaced."""
        check_keywords("decoding", changes, [field.name for field in dataclasses.fields(Decoding)])
        return dataclasses.replace(Decoding(end_ids=(self.captions.end_ids[0],)), **changes)

    def _packs(self, images: Sequence[ImageLike | Patches], batch_size: int, with_prompt: bool) -> Iterator[Pack]:
        if isinstance(images, (str, bytes, os.PathLike, Image.Image, Patches)):
            raise TypeError(f"images is a single {type(images).__name__}: give a list, such as [image]")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
        prompt = self.captions.prompt_ids if with_prompt else []
        for start in range(0, len(images), batch_size):
            yield pack_images(images[start : start + batch_size], self.images, self.model.config, prompt).to(
                self.model.device
            )
