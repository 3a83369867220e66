"""Tower: what wrappers of other libraries' vision encoders share.

In: images, and a model of which only the forward pass and the preprocessing are the library's own. Out: features of every
patch. `encode` computes images with the same grid together, so no image is padded. `forward` is for training: it computes
images of any grids in one call, so that each block is called once, whatever the images are.

Axes: b images, with the same grid unless told otherwise, p patches of an image, N most patches of an image, D encoder width.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from genlip.data.images import ImageError, ImageLike, decode
from genlip.encoder import (
    Features,
    Fingerprint,
    Prepared,
    check_batches,
    check_one_limit,
    evaluating,
    layer_numbers,
    weights_fingerprint,
)

__all__ = ["PreparedImage", "Tower", "check_limits", "name_with_choices", "placed"]

_LONGEST = 200  # times the shorter side: many processors enlarge the shorter side first, whatever the other becomes


class PreparedImage(NamedTuple):
    """An image as the library's own preprocessing returns it, normalised.

    Attributes:
        patches: Float32, an image [C H W], or patches [p C*P*P] where the processor of the model cuts them.
        grid: rows and columns of patches.
    """

    patches: np.ndarray
    grid: tuple[int, int]


class Tower(ABC):
    """An `Encoder` around a model of another library.

    Attributes:
        name: what messages and results call it.
        model: the library's own module.
        size: side in pixels of a fixed image; None where images keep their aspect ratio.
        max_patches: most patches of an image that keeps its aspect ratio; None where images have a fixed size.
        interpolate_positions: whether learned positions may be resampled to other grids than the model was trained on.
        max_pixels: images with more pixels than this are refused before they are decoded.
    """

    library: str
    min_patches = 1

    def __init__(
        self, name: str, model: nn.Module, size: int | None, max_patches: int | None, interpolate_positions: bool = False
    ) -> None:
        self.name = name
        self.model = model.eval()
        self.size = size
        self.max_patches = max_patches
        self.interpolate_positions = interpolate_positions
        self.max_pixels = 100_000_000
        self._check_size()

    def __repr__(self) -> str:
        seen = f"fixed {self.size} pixels" if self.size else f"native, at most {self.max_patches} patches"
        kind = str(self.dtype).removeprefix("torch.")
        what = f"{type(self).__name__}({self.name}, {self.layers} layers of width {self.width}"
        return f"{what}, {seen}, {kind} on {self.device})"

    # -- what the library's model knows

    @property
    @abstractmethod
    def width(self) -> int:
        """D."""

    @property
    @abstractmethod
    def heads(self) -> int:
        """Attention heads of a layer."""

    @property
    @abstractmethod
    def layers(self) -> int:
        """Transformer blocks."""

    @property
    @abstractmethod
    def patch_size(self) -> int:
        """Side of a patch in pixels."""

    @property
    @abstractmethod
    def learned_size(self) -> int | None:
        """Side in pixels of the images that learned positions belong to; None where positions take any grid."""

    @property
    @abstractmethod
    def whole_image(self) -> bool:
        """Whether the grid of patches covers the whole image."""

    @property
    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""

    @property
    @abstractmethod
    def prefix_tokens(self) -> int:
        """Class and register tokens before the patches."""

    @property
    @abstractmethod
    def unused(self) -> frozenset[str]:
        """Parts of the names of parameters that features of patches do not depend on, such as those of a pooling head."""

    @abstractmethod
    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Whether training keeps only the input of each block and computes the rest again in the backward pass."""

    @abstractmethod
    def architecture(self) -> Any:
        """Everything that the forward pass depends on besides the parameters, such as activations; JSON-ready."""

    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Everything that turns an image into numbers; JSON-ready."""

    @abstractmethod
    def last_norm(self, features: Tensor) -> Tensor:
        """Float[.. D] features of the last layer -> Float[.. D], after the last LayerNorm; unchanged where there is none."""

    @abstractmethod
    def _prepared(self, image: Image.Image) -> PreparedImage:
        """An RGB image through the library's own preprocessing."""

    @abstractmethod
    def _forward(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Prepared images [b ..] -> Float[b p D], of the library's own forward pass, patches alone."""

    @abstractmethod
    def _forward_layers(self, images: Tensor, grid: tuple[int, int], layers: Sequence[int]) -> list[Tensor]:
        """Prepared images [b ..] -> Float[b p D] after each of these layers, patches alone."""

    def _forward_padded(self, images: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Patches [b N ..] of images of any grids, zeros after them -> Float[b N D]; of models that read native images."""
        raise NotImplementedError

    def _patches_of(self, image: Prepared) -> np.ndarray:
        """Float32[p ..], the patches of a prepared image as `_forward_padded` reads them."""
        return image.patches

    # -- what follows from it

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters and of the features."""
        return next(self.model.parameters()).dtype

    def image_settings(self) -> dict[str, Any]:
        """What `Result.settings` records: "resize", and either "size" in pixels or "patches" as [fewest, most]."""
        if self.size is not None:
            return {"resize": "fixed", "size": self.size}
        return {"resize": "native", "patches": [self.min_patches, self.max_patches]}

    def description(self) -> dict[str, Any]:
        """What `Result.about` records: the library's version and the preprocessing."""
        return {"encoder": {"library": self.library, "preprocessing": self.preprocessing()}}

    def fingerprint(self) -> Fingerprint:
        """Of the weights, of what is computed with them, and of the preprocessing."""
        settings = [
            self.library,
            type(self.model).__name__,
            self.architecture(),
            self.image_settings(),
            self.preprocessing(),
        ]
        return Fingerprint(settings, weights_fingerprint(self.model))

    def prepare(self, image: ImageLike) -> PreparedImage:
        """Decode an image, and prepare it as the model's own library does. Raises `ImageError`."""
        decoded = decode(image, self.max_pixels)
        shorter, longer = sorted(decoded.size)
        if longer > _LONGEST * shorter:
            size = f"{decoded.width}x{decoded.height}"
            raise ImageError("too elongated", f"an image of {size} pixels: one side is more than {_LONGEST} times the other")
        return self._prepared(decoded)

    def encode(self, images: Sequence[ImageLike | PreparedImage], batch_size: int = 16) -> list[Features]:
        """Features of every patch as the library's own forward pass returns them. Raises `ImageError`."""
        return [features for (features,) in self._run(images, batch_size, lambda x, grid: [self._forward(x, grid)])]

    def encode_layers(
        self, images: Sequence[ImageLike | PreparedImage], layers: Sequence[int], batch_size: int = 16
    ) -> list[list[Features]]:
        """For each image the features after each of these layers, before the last LayerNorm. Raises `ImageError`.

        layers  counted from 0; -1 is the last one
        """
        numbers = layer_numbers(layers, self.layers)
        return self._run(images, batch_size, lambda x, grid: self._forward_layers(x, grid, numbers))

    def stacked(self, prepared: Sequence[Prepared]) -> Tensor:
        """Float32[b ..], prepared images in one tensor: as they are, or native ones as patches with zeros after them.

        Raises ValueError for images of a fixed size with different grids.
        """
        if self.size is None:
            return pad_sequence([torch.from_numpy(self._patches_of(one)) for one in prepared], batch_first=True)
        if len(grids := {one.grid for one in prepared}) > 1:
            shown = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(grids))
            raise ValueError(f"{self.name} reads images of one size, and these have grids of {shown} patches")
        return torch.from_numpy(np.stack([one.patches for one in prepared]))

    def forward(self, images: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Float[p D], features of the patches of all images, in order, in the mode of the model and with gradients.

        images  as `stacked` returns them, on the device of the model
        grids   rows and columns of patches of each image
        """
        images = images.to(self.dtype)
        rows = self._forward_padded(images, grids) if self.size is None else self._forward(images, grids[0])
        counts = [height * width for height, width in grids]
        if min(counts) == rows.shape[1]:
            return rows.flatten(0, 1)
        return torch.cat([own[:count] for own, count in zip(rows.unbind(), counts, strict=True)])

    def empty_image(self, side: int = 1) -> PreparedImage:
        """An image of zeros: of the fixed size, or a native one of `side` x `side` patches."""
        pixels = self.size or side * self.patch_size
        grid = (pixels // self.patch_size, pixels // self.patch_size)
        return PreparedImage(np.zeros((3, pixels, pixels), np.float32), grid)

    def resized(self, *, size: int | None = None, max_patches: int | None = None) -> Self:
        """The same model, reading images at a fixed size in pixels, or at most so many patches of native images.

        Raises ValueError where the model cannot read such images.
        """
        check_one_limit(size, max_patches)
        if (size is None) != (self.size is None):
            able = "images of a fixed size (sizes)" if self.size else "native images (max_patches, --budgets)"
            raise ValueError(f"{self.name} reads {able} alone")
        other = copy.copy(self)
        other.size, other.max_patches = size, max_patches
        other._check_size()
        return other

    def _check_size(self) -> None:
        """Raise ValueError for a size that the patches do not divide, or that learned positions do not fit."""
        if self.size is None:
            return
        if self.size < 1 or self.size % self.patch_size:
            raise ValueError(f"size {self.size} is no multiple of the patch size {self.patch_size} of {self.name}")
        if self.learned_size not in (None, self.size) and not self.interpolate_positions:
            raise ValueError(
                f"{self.name} has learned positions for images of {self.learned_size} pixels, and the size is {self.size}: "
                f"give size={self.learned_size}, or interpolate_positions=True to resample them (--size, "
                "--interpolate-positions; in the recipe of a multimodal LLM: images.size, model.interpolate_positions)"
            )

    @torch.no_grad()
    def _run(
        self,
        images: Sequence[ImageLike | PreparedImage],
        batch_size: int,
        forward: Callable[[Tensor, tuple[int, int]], list[Tensor]],
    ) -> list[list[Features]]:
        """For each image what `forward` returns: a list of Float[b p D] for images with the same grid."""
        check_batches(images, batch_size, PreparedImage)
        found: dict[int, list[Features]] = {}
        with evaluating(self.model):
            for places, prepared in self._alike(images, batch_size):
                grid = prepared[0].grid
                stacked = torch.from_numpy(np.stack([one.patches for one in prepared])).to(self.device, self.dtype)
                outputs = forward(stacked, grid)
                for number, place in enumerate(places):
                    found[place] = [Features(rows[number], grid) for rows in outputs]
        return [found[place] for place in range(len(images))]

    def _alike(
        self, images: Sequence[ImageLike | PreparedImage], batch_size: int
    ) -> Iterator[tuple[list[int], list[PreparedImage]]]:
        """Places of images with the same grid, with these images prepared, at most `batch_size` at a time."""
        for start in range(0, len(images), batch_size):
            some = [
                (place, one if isinstance(one, PreparedImage) else self.prepare(one))
                for place, one in enumerate(images[start : start + batch_size], start)
            ]
            some.sort(key=lambda pair: pair[1].grid)
            for _, alike in groupby(some, key=lambda pair: pair[1].grid):
                places, prepared = zip(*alike, strict=True)
                yield list(places), list(prepared)


def check_limits(name: str, native: bool, size: int | None, max_patches: int | None) -> None:
    """Raise ValueError for a size of images where a model reads native ones, or for a limit of patches where it does not."""
    if native and size is not None:
        raise ValueError(f"{name} reads native images: give max_patches instead of size (in a recipe, images.resize native)")
    if not native and max_patches is not None:
        raise ValueError(
            f"{name} reads images of a fixed size: give size instead of max_patches (in a recipe, images.resize fixed)"
        )


def placed(model: nn.Module, device: torch.device | str, dtype: torch.dtype | None) -> nn.Module:
    """The model on a device and in a dtype; one without storage (device "meta") stays without."""
    if any(parameter.is_meta for parameter in model.parameters()):
        return model.to(dtype=dtype)
    return model.to(device, dtype)


def name_with_choices(name: str, squash: bool, changed: Mapping[str, Any] | None = None) -> str:
    """The name of a model, as in NAME+squash+crop_pct=0.8: results with other preprocessing are those of another model.

    changed  settings of the preprocessing that are not the model's own
    """
    told = ["squash"] if squash else []
    for key, value in sorted((changed or {}).items()):
        told.append(f"{key}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}")
    return "+".join([name, *told])
