"""Speaker: a GenLIP with its preprocessing, from images to features, captions and the words of each patch.

In: paths, bytes or Pillow images, or what `Speaker.prepare` returns. Out: tensors and texts. The commands `caption`,
`encode` and `readout` call it. A speaker is also an `Encoder`, so that every measurement of features takes one.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genlip.data.captions import Captions
from genlip.data.images import ImageConfig, ImageLike, Patches, prepare_image
from genlip.data.packing import pack_images
from genlip.data.preprocessing import load_captions
from genlip.encoder import (
    Features,
    Fingerprint,
    check_batches,
    check_one_limit,
    evaluating,
    layer_numbers,
    weights_fingerprint,
)
from genlip.model.checkpoint import checkpoint_folder, load
from genlip.model.decoding import Decoding
from genlip.model.generation import generate, generate_steps, patch_readout
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.suggestions import check_keywords

__all__ = ["PatchWords", "Speaker"]

# Parameters that features depend on; text parameters may change.
_ENCODER = ("vision_embeddings.", "visual.", "ln_post.", "registers")
_REPETITION_STOP = 8  # of captions; `genlip caption` has the same default


class PatchWords(NamedTuple):
    """For each patch of one image, its k likeliest next tokens as (token, probability) pairs, likeliest first."""

    grid: tuple[int, int]
    words: list[list[tuple[str, float]]]


class Speaker:
    """A GenLIP that takes images of any size and format.

    >>> speaker = Speaker.load("runs/quickstart/model")  # doctest: +SKIP
    >>> speaker.caption(["photo.jpg"])  # doctest: +SKIP
    """

    def __init__(self, model: GenLIP, images: ImageConfig, captions: Captions | None = None) -> None:
        """`captions` may be None: the model then gives features, but cannot speak."""
        self.name = "GenLIP"
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
        speaker = cls(model, dataclasses.replace(settings.images, **images), captions)
        speaker.name = str(path_or_hub_id)
        return speaker

    def __repr__(self) -> str:
        images = self.images
        seen = (
            f"{images.size} pixels" if images.resize == "fixed" else f"{images.min_patches} to {images.max_patches} patches"
        )
        kind = str(self.dtype).removeprefix("torch.")
        speaks = "with" if self.speaks else "without"
        return (
            f"Speaker({self.name}, {self.layers} layers of width {self.width}, {images.resize} {seen}, {speaks} captions, "
            f"{kind} on {self.device})"
        )

    @property
    def speaks(self) -> bool:
        """Whether the model came with a tokenizer."""
        return self._captions is not None

    @property
    def width(self) -> int:
        """D, numbers in the feature of a patch."""
        return self.model.config.hidden_size

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.model.config.num_attention_heads

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return self.model.config.num_hidden_layers

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.model.config.patch_size

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the features."""
        return self.model.ln_post.weight.dtype

    @property
    def max_pixels(self) -> int:
        """Images with more pixels than this are refused before they are decoded."""
        return self.images.max_pixels

    @property
    def min_patches(self) -> int:
        """Fewest patches of an image that keeps its aspect ratio."""
        return self.images.min_patches

    @property
    def whole_image(self) -> bool:
        """True: images are resized, never cropped."""
        return True

    def image_settings(self) -> dict[str, Any]:
        """What `Result.settings` records: "resize", and either "size" in pixels or "patches" as [fewest, most]."""
        images = self.images
        if images.resize == "fixed":
            return {"resize": images.resize, "size": images.size}
        return {"resize": images.resize, "patches": [images.min_patches, images.max_patches]}

    def description(self) -> dict[str, Any]:
        """Nothing: settings and versions describe a model of genlip."""
        return {}

    def fingerprint(self) -> Fingerprint:
        """Of what features depend on; parameters of the text do not count."""
        settings = [self.model.config.to_dict(), dataclasses.asdict(self.images)]
        return Fingerprint(settings, weights_fingerprint(self.model, _ENCODER))

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
        """An image, decoded and resized; the other methods take it too. Raises `ImageError`.

        It is small, whatever the size of the image: keep these where many images are gathered.
        """
        return prepare_image(image, self.images, self.model.config)

    def resized(self, *, size: int | None = None, max_patches: int | None = None) -> Speaker:
        """The same model and captions, with images of a fixed size, or native ones of at most so many patches.

        Raises ValueError for a size that is no multiple of the patch size, and unless one of both is given.
        """
        check_one_limit(size, max_patches)
        other = copy.copy(self)
        if size is not None:
            other.images = dataclasses.replace(self.images, resize="fixed", size=size)
        if max_patches is not None:
            least = min(self.images.min_patches, max_patches)
            other.images = dataclasses.replace(self.images, resize="native", max_patches=max_patches, min_patches=least)
        return other

    @torch.no_grad()  # not inference mode: a probe may be trained on the features
    def encode(self, images: Sequence[ImageLike | Patches], batch_size: int = 16) -> list[Features]:
        """Encoder features of every patch: the last block's output after `ln_post`. Raises `ImageError`."""
        found: list[Features] = []
        with evaluating(self.model):
            for pack in self._packs(images, batch_size, with_prompt=False):
                found += _by_image(self.model.encode(pack), pack)
        return found

    @torch.no_grad()
    def encode_layers(
        self, images: Sequence[ImageLike | Patches], layers: Sequence[int], batch_size: int = 16
    ) -> list[list[Features]]:
        """For each image the output of each of these blocks, before `ln_post`. Raises `ImageError`.

        layers  counted from 0; -1 is the last one
        """
        numbers, found = layer_numbers(layers, self.layers), list[list[Features]]()
        states: dict[int, Tensor] = {}
        hooks = [
            self.model.blocks[number].register_forward_hook(
                lambda _, __, state, number=number: states.update({number: state})
            )
            for number in set(numbers) - {self.layers - 1}
        ]
        try:
            with evaluating(self.model):
                for pack in self._packs(images, batch_size, with_prompt=False):
                    states[self.layers - 1] = self.model.trunk(pack.without_text())
                    of_layers = [_by_image(states[number], pack) for number in numbers]
                    found += [list(of_image) for of_image in zip(*of_layers, strict=True)]
        finally:
            for hook in hooks:
                hook.remove()
        return found

    @torch.no_grad()
    def last_norm(self, features: Tensor) -> Tensor:
        """Float[.. D] output of the last block -> Float[.. D], after `ln_post`."""
        return self.model.ln_post(features)

    def caption(self, images: Sequence[ImageLike | Patches], batch_size: int = 16, **decoding: Any) -> list[str]:
        """A caption for each image. Raises `ImageError`.

        decoding  fields of `Decoding`; `repetition_stop` is 8 unless given
        """
        settings, captions = self.decoding(**{"repetition_stop": _REPETITION_STOP, **decoding}), self.captions
        packs = self._packs(images, batch_size, with_prompt=True)
        return [captions.decode(ids) for pack in packs for ids in generate(self.model, pack, settings)]

    def stream(self, image: ImageLike | Patches, **decoding: Any) -> Iterator[str]:
        """The caption of one image, in pieces as they are generated; keywords as for `caption`.

        The pieces join to the caption, up to white space around it. A phrase whose repeats `repetition_stop` removes from
        captions was already yielded.
        """
        (pack,) = self._packs([image], 1, with_prompt=True)
        steps = generate_steps(self.model, pack, self.decoding(**{"repetition_stop": _REPETITION_STOP, **decoding}))
        return self.captions.pieces(token for step in steps for token in step if token is not None)

    def readout(self, images: Sequence[ImageLike | Patches], k: int = 5, batch_size: int = 16) -> list[PatchWords]:
        """For each patch, the k likeliest next tokens. Raises `ImageError`."""
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
        check_batches(images, batch_size, Patches)
        prompt = self.captions.prompt_ids if with_prompt else []
        for start in range(0, len(images), batch_size):
            yield pack_images(images[start : start + batch_size], self.images, self.model.config, prompt).to(
                self.model.device
            )


def _by_image(rows: Tensor, pack: Pack) -> list[Features]:
    """Float[p D] rows of all images of a pack, divided among them."""
    return [Features(own, grid) for own, grid in zip(rows.split(list(pack.patch_counts)), pack.grids, strict=True)]
