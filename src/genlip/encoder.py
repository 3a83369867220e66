"""Encoder: what measurements of frozen features need from a vision encoder, whichever library it comes from.

In: images. Out: features of every patch, and what a result records about the model. `genlip.Speaker` is an encoder, and so
are the wrappers in `genlip.encoders` for models of timm and Transformers. A measurement that takes an `Encoder` reads
nothing else of the model.

Axes: p patches of an image, D encoder width.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from genlip.data.images import ImageLike

__all__ = [
    "Encoder",
    "Features",
    "Fingerprint",
    "Prepared",
    "check_batches",
    "check_one_limit",
    "evaluating",
    "layer_numbers",
    "weights_fingerprint",
]


class Features(NamedTuple):
    """Encoder features of one image: Float[rows * columns, D], row-major, and its grid."""

    patches: Tensor
    grid: tuple[int, int]

    def __repr__(self) -> str:
        rows, columns = self.grid
        kind = str(self.patches.dtype).removeprefix("torch.")
        return f"Features({rows} x {columns} patches of width {self.patches.shape[-1]}, {kind} on {self.patches.device})"


class Prepared(Protocol):
    """An image that is decoded and sized for an encoder, such as `genlip.data.images.Patches`."""

    @property
    def patches(self) -> np.ndarray:
        """What the encoder reads, in one array; the layout is the encoder's own."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        ...


class Fingerprint(NamedTuple):
    """What features depend on besides the image; features that are kept on disk are found by it.

    Attributes:
        settings: configuration of the model and of its preprocessing; JSON-ready.
        weights: hexadecimal digest of the parameters.
    """

    settings: Sequence[Any]
    weights: str


class Encoder(Protocol):
    """A vision encoder with its preprocessing. Its weights are never changed."""

    @property
    def name(self) -> str:
        """What messages call it, as the user spelled it."""
        ...

    @property
    def width(self) -> int:
        """D, numbers in the feature of a patch."""
        ...

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        ...

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        ...

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters and of the features."""
        ...

    @property
    def max_pixels(self) -> int:
        """Images with more pixels than this are refused before they are decoded."""
        ...

    @property
    def min_patches(self) -> int:
        """Fewest patches of an image that keeps its aspect ratio; 1 where the model sets no limit."""
        ...

    @property
    def whole_image(self) -> bool:
        """Whether the grid of patches covers the whole image; False where preprocessing cuts off its edges."""
        ...

    def image_settings(self) -> dict[str, Any]:
        """What `Result.settings` records: "resize", and either "size" in pixels or "patches" as [fewest, most]."""
        ...

    def description(self) -> dict[str, Any]:
        """What `Result.about` records of the library and the preprocessing; empty for a model of genlip."""
        ...

    def fingerprint(self) -> Fingerprint:
        """Of the weights and the preprocessing."""
        ...

    def prepare(self, image: ImageLike) -> Prepared:
        """Decode and resize an image. Raises `ImageError` for one that cannot be used."""
        ...

    def encode(self, images: Sequence[Any], batch_size: int = 16) -> list[Features]:
        """Features of the last layer, after the last LayerNorm; takes images as `prepare` takes or returns them."""
        ...

    def encode_layers(self, images: Sequence[Any], layers: Sequence[int], batch_size: int = 16) -> list[list[Features]]:
        """For each image the features after each of these layers, before the last LayerNorm.

        layers  counted from 0; -1 is the last one
        """
        ...

    def last_norm(self, features: Tensor) -> Tensor:
        """Float[.. D] features of the last layer -> Float[.. D], after the last LayerNorm; unchanged where there is none."""
        ...

    def resized(self, *, size: int | None = None, max_patches: int | None = None) -> Self:
        """The same model, reading images at a fixed size in pixels, or at most so many patches of native images.

        Raises ValueError where the model cannot read such images.
        """
        ...


def weights_fingerprint(model: nn.Module, beginnings: tuple[str, ...] = ("",)) -> str:
    """Digest of the parameters, bit by bit: a model that was trained further under the same name has another one.

    beginnings  of the names that count; all by default
    """
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(beginnings):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def layer_numbers(layers: Sequence[int], count: int) -> list[int]:
    """Numbers of layers, counted from 0. Raises ValueError for one that a model of `count` layers does not have."""
    for layer in layers:
        if not -count <= layer < count:
            raise ValueError(f"layer {layer} of a model with {count} layers: need {-count} to {count - 1}")
    return [layer % count for layer in layers]


def check_batches(images: Sequence[Any], batch_size: int, prepared: type) -> None:
    """Raise TypeError for a single image where a list is needed, and ValueError for a batch size below 1.

    prepared  what the encoder's `prepare` returns
    """
    if isinstance(images, (str, bytes, os.PathLike, Image.Image, prepared)):
        raise TypeError(f"images is a single {type(images).__name__}: give a list, such as [image]")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1")


def check_one_limit(size: int | None, max_patches: int | None) -> None:
    """Raise ValueError unless exactly one of both is given."""
    if (size is None) == (max_patches is None):
        raise ValueError(f"size {size} and max_patches {max_patches}: give one of both")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without DropPath and dropout; the mode that was set before returns at the end."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
