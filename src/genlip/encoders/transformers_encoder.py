"""Transformers: its vision towers as encoders: SigLIP, SigLIP 2, CLIP, DINOv2 (with registers too) and DINOv3.

In: a folder or Hub id with config.json, model.safetensors and preprocessor_config.json. Out: an `Encoder` whose images go
through the folder's own image processor, and whose features are `last_hidden_state` without class and register tokens.

Nothing is guessed: the processor's file must name mean, standard deviation and size, and learned positions are resampled
only on request. Models of genlip's own Transformers export need no wrapper: `genlip.Speaker.load` reads the same folder.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor, nn

from genlip.encoders.tower import PreparedImage, Tower, check_limits, name_with_choices, placed
from genlip.extras import require
from genlip.model.checkpoint import CheckpointError
from genlip.model.download import fetch
from genlip.model.reading import read_json

__all__ = ["MODEL_TYPES", "TransformersEncoder", "transformers"]


class _Kind(NamedTuple):
    """A class of Transformers.

    Attributes:
        model: its name.
        norm: name of its last LayerNorm; "" where patches leave the model without one.
        tokens: class tokens before the register tokens and patches.
        learned: whether positions are learned for one size of images.
        cut: whether the processor cuts the patches, of any grid.
    """

    model: str
    norm: str
    tokens: int
    learned: bool
    cut: bool = False


_SIGLIP, _SIGLIP2 = (
    _Kind("SiglipVisionModel", "post_layernorm", 0, True),
    _Kind("Siglip2VisionModel", "post_layernorm", 0, True, True),
)
_CLIP = _Kind("CLIPVisionModel", "", 1, True)  # its LayerNorm is for the class token

MODEL_TYPES = {
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "dinov2": _Kind("Dinov2Model", "layernorm", 1, True),
    "dinov2_with_registers": _Kind("Dinov2WithRegistersModel", "layernorm", 1, True),
    "dinov3_vit": _Kind("DINOv3ViTModel", "norm", 1, False),
}
"""What is known of each `model_type` of a config.json."""


def transformers(
    folder_or_id: str | os.PathLike[str],
    *,
    pretrained: bool = True,
    size: int | None = None,
    max_patches: int | None = None,
    interpolate_positions: bool = False,
    squash: bool = False,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> TransformersEncoder:
    """A vision tower of Transformers as an encoder; of a model of images and texts, its vision part.

    folder_or_id   a folder, or an id on the Hub
    pretrained     False takes random weights: only config.json and preprocessor_config.json are read, and the name begins
                   with "random:"
    size           side of the images in pixels; None takes the image processor's
    max_patches    of SigLIP 2, the most patches of an image; None takes the image processor's
    interpolate_positions  resample learned positions, as Transformers does, where the size differs from theirs
    squash         resize the whole image to a square, instead of cropping it
    revision       branch, tag or commit on the Hub

    Raises ValueError for other models, for missing settings and for sizes that do not fit, and `CheckpointError` where
    weights are missing or are not in safetensors files.
    """
    require("torchvision", "timm")
    library: Any = require("transformers", "transformers")
    where = os.fspath(folder_or_id)
    folder = Path(where) if Path(where).is_dir() else fetch(where, revision, weights=pretrained, pickles=False)
    kind = _kind(where, folder)
    processor = _processor(library, where, folder, kind)
    model_class, kept = getattr(library, kind.model), dtype or torch.float32
    model = _stored(model_class, where, folder, kept) if pretrained else _random(model_class, folder)
    return TransformersEncoder(
        placed(model, device, kept),
        processor,
        f"transformers:{where}" if pretrained else f"random:transformers:{where}",
        size=size,
        max_patches=max_patches,
        interpolate_positions=interpolate_positions,
        squash=squash,
    )


class TransformersEncoder(Tower):
    """A vision tower of Transformers with its image processor; arguments as for `transformers`."""

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        name: str = "Transformers model",
        *,
        size: int | None = None,
        max_patches: int | None = None,
        interpolate_positions: bool = False,
        squash: bool = False,
    ) -> None:
        library: Any = require("transformers", "transformers")
        self.library = f"transformers {library.__version__}"
        self._config: Any = getattr(model, "config", None)
        model_type = getattr(self._config, "model_type", None)
        if model_type not in MODEL_TYPES:
            raise ValueError(f"{name} is a {type(model).__name__} of Transformers: need one of {', '.join(MODEL_TYPES)}")
        self._kind = MODEL_TYPES[model_type]
        _check_class(model, self._kind, name)
        self._processor = copy.deepcopy(processor)
        crops = bool(getattr(processor, "do_center_crop", False))
        if squash and self._kind.cut:
            raise ValueError(f"{name} reads native images, which are never cropped: leave squash (--squash) out")
        if not getattr(processor, "do_resize", True) and (squash or self._kind.cut or not crops):
            raise ValueError(
                f"the image processor of {name} has do_resize false, so its images keep their sizes: set do_resize to true "
                "in preprocessor_config.json"
            )
        check_limits(name, self._kind.cut, size, max_patches)
        if self._kind.cut:
            max_patches = max_patches or processor.max_num_patches
        else:
            if not crops and not squash and not _is_square(processor.size):
                raise ValueError(
                    f"the image processor of {name} makes no square images of one size ({_shown(processor.size)}): give "
                    "squash=True (--squash) to resize whole images to a square"
                )
            size = size or _side(processor.crop_size if crops else processor.size, name)
            if squash:
                self._processor.do_center_crop = False
        super().__init__(name_with_choices(name, squash), model, size, max_patches, interpolate_positions)
        self._resize_processor()

    @property
    def width(self) -> int:
        """D."""
        return int(self._config.hidden_size)

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(self._config.num_attention_heads)

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return int(self._config.num_hidden_layers)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self._config.patch_size)

    @property
    def learned_size(self) -> int | None:
        """Side in pixels of the images that learned positions belong to; None where positions take any grid."""
        return int(self._config.image_size) if self._kind.learned and not self._kind.cut else None

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""
        return list(next(m for m in self.model.modules() if isinstance(m, nn.ModuleList) and len(m) == self.layers))

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens before the patches."""
        return self._kind.tokens + int(getattr(self._config, "num_register_tokens", 0) or 0)

    @property
    def unused(self) -> frozenset[str]:
        """Parts of the names of parameters that features of patches do not depend on."""
        return frozenset({"head", "mask_token"} | ({"post_layernorm"} if self._kind is _CLIP else set()))

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Whether the blocks are computed again in the backward pass, in training mode."""
        new = hasattr(self.model, "activation_checkpointing_enable")  # the old name is deprecated
        kind, how = ("activation" if new else "gradient"), ("enable" if enabled else "disable")
        getattr(self.model, f"{kind}_checkpointing_{how}")(*([{"use_reentrant": False}] if enabled else []))

    @property
    def whole_image(self) -> bool:
        """Whether the image processor keeps the edges of images."""
        return self._kind.cut or not getattr(self._processor, "do_center_crop", False)

    @property
    def image_processor(self) -> Any:
        """The image processor of Transformers, with this encoder's size of images."""
        return self._processor

    def architecture(self) -> dict[str, Any]:
        """The config of the model, without its place and the version of the library that wrote it."""
        found: dict[str, Any] = self._config.to_dict()
        return {key: found[key] for key in sorted(found) if key not in ("_name_or_path", "transformers_version")}

    def preprocessing(self) -> dict[str, Any]:
        """The settings of the image processor."""
        found = {
            name: list(value) if isinstance(value, tuple) else value for name, value in self._processor.to_dict().items()
        }
        return {name: found[name] for name in sorted(found) if isinstance(found[name], (str, int, float, bool, list, dict))}

    def last_norm(self, features: Tensor) -> Tensor:
        """Float[.. D] -> Float[.. D]; unchanged for CLIP, whose LayerNorm is for the class token alone."""
        if not self._kind.norm:
            return features
        norm = next(module for name, module in self.model.named_modules() if name.split(".")[-1] == self._kind.norm)
        with torch.no_grad():
            return norm(features)  # type: ignore[no-any-return]

    def resized(self, *, size: int | None = None, max_patches: int | None = None) -> Self:
        """The same model, reading images at a fixed size in pixels, or at most so many patches of native images."""
        other = super().resized(size=size, max_patches=max_patches)
        other._processor = copy.deepcopy(self._processor)
        other._resize_processor()
        return other

    def _resize_processor(self) -> None:
        if self._kind.cut:
            self._processor.max_num_patches = self.max_patches
            return
        assert self.size is not None
        _set_side(self._processor, self.size)

    def _prepared(self, image: Image.Image) -> PreparedImage:
        found = self._processor(images=[image], return_tensors="pt")
        pixels = found["pixel_values"][0]
        if self._kind.cut:
            rows, columns = found["spatial_shapes"][0].tolist()
            return PreparedImage(pixels[: rows * columns].numpy(), (rows, columns))
        return PreparedImage(pixels.numpy(), (pixels.shape[1] // self.patch_size, pixels.shape[2] // self.patch_size))

    def empty_image(self, side: int = 1) -> PreparedImage:
        """An image of zeros: of the fixed size, or a native one of `side` x `side` patches."""
        found = super().empty_image(side)
        if not self._kind.cut:
            return found
        return PreparedImage(found.patches.reshape(side * side, -1), found.grid)

    def _forward(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        return self._patches(self._output(images, [grid] * len(images)).last_hidden_state)

    def _forward_padded(self, images: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        return self._patches(self._output(images, grids).last_hidden_state)

    def _forward_layers(self, images: Tensor, grid: tuple[int, int], layers: Sequence[int]) -> list[Tensor]:
        with self._recording(layers) as states:
            self._output(images, [grid] * len(images))
        return [self._patches(states[layer]) for layer in layers]

    def _output(self, images: Tensor, grids: Sequence[tuple[int, int]]) -> Any:
        if self._kind.cut:
            shapes = torch.tensor(grids)
            mask = (torch.arange(images.shape[1]) < shapes.prod(1, keepdim=True)).int().to(images.device)
            return self.model(pixel_values=images, pixel_attention_mask=mask, spatial_shapes=shapes.to(images.device))
        if self._kind in (_SIGLIP, _CLIP):
            return self.model(pixel_values=images, interpolate_pos_encoding=self.size != self.learned_size)
        return self.model(pixel_values=images)

    def _patches(self, rows: Tensor) -> Tensor:
        """[b tokens D] -> Float[b p D], without class and register tokens."""
        return rows[:, self.prefix_tokens :]

    @contextmanager
    def _recording(self, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Outputs of blocks by number, filled by a pass."""
        states: dict[int, Tensor] = {}
        blocks = self.blocks

        def record(number: int) -> Any:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                states[number] = output[0] if isinstance(output, tuple) else output

            return hook

        hooks = [blocks[number].register_forward_hook(record(number)) for number in set(layers)]
        try:
            yield states
        finally:
            for hook in hooks:
                hook.remove()


def _stored(model_class: Any, where: str, folder: Path, dtype: torch.dtype) -> nn.Module:
    """The model of a folder with its weights. Raises `CheckpointError` where they are missing."""
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{where}: no .safetensors file; other formats are not read, because they can run code: save the model with "
            "save_pretrained of a current Transformers"
        )
    model: nn.Module
    model, report = model_class.from_pretrained(folder, use_safetensors=True, output_loading_info=True, dtype=dtype)
    if missing := sorted(report["missing_keys"]):
        name = model_class.__name__
        raise CheckpointError(f"{where}: {len(missing)} parameters of {name} are missing: {', '.join(missing[:5])}")
    return model


def _random(model_class: Any, folder: Path) -> nn.Module:
    """The model of a folder's config.json with new weights; of a model of images and texts, its vision part."""
    model: nn.Module = model_class(model_class.config_class.from_pretrained(folder))
    return model


def _kind(where: str, folder: Path) -> _Kind:
    """The class that a config.json asks for. Raises ValueError for an unknown one, and where there is no config.json."""
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"{where}: no config.json of a model of Transformers")
    config: Any = read_json(file)
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in MODEL_TYPES:
        raise ValueError(f"{where}: config.json has model_type {found!r}: need one of {', '.join(MODEL_TYPES)}")
    return MODEL_TYPES[found]


def _processor(library: Any, where: str, folder: Path, kind: _Kind) -> Any:
    """The image processor of a folder. Raises ValueError where it has none, or where its file leaves settings out."""
    try:
        mixin: Any = require("transformers.image_processing_base", "transformers")
        stored, _ = mixin.ImageProcessingMixin.get_image_processor_dict(folder)
    except OSError as error:
        raise ValueError(
            f"{where}: no preprocessor_config.json, so size, mean and standard deviation of its images are not known; copy "
            "that file from the model that this one was made from, or save one with an image processor's save_pretrained"
        ) from error
    needed = ["image_mean", "image_std", *(["max_num_patches", "patch_size"] if kind.cut else ["size"])]
    missing = [name for name in needed if stored.get(name) is None]
    if missing:
        raise ValueError(
            f"{where}: preprocessor_config.json lacks {', '.join(missing)}: add what the model was trained with"
        )
    try:
        return library.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        raise ValueError(
            f"{where}: Transformers has no image processor for preprocessor_config.json, and code of a repository is not run"
            f": {str(error).splitlines()[0]}"
        ) from error


def _check_class(model: nn.Module, kind: _Kind, name: str) -> None:
    """Raise ValueError for another class than the vision tower of a `model_type`, such as a model of images and texts."""
    if kind.model not in (parent.__name__ for parent in type(model).__mro__):
        raise ValueError(
            f"{name} is a {type(model).__name__}, and a {kind.model} is needed: load its vision part by "
            f"{kind.model}.from_pretrained(FOLDER), or by genlip.encoders.transformers(FOLDER)"
        )


def _shown(size: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in dict(size or {}).items() if value is not None) or "no size"


def _is_square(size: Any) -> bool:
    """Whether a processor's `size` or `crop_size` names one square."""
    return bool(size) and size.get("height") is not None and size.get("height") == size.get("width")


def _side(size: Any, name: str) -> int:
    """The side in pixels of a square, or of the shorter side of an image. Raises ValueError where there is none."""
    found = size.get("height") if _is_square(size) else size.get("shortest_edge") if size else None
    if not found:
        raise ValueError(
            f"the image processor of {name} makes no square images of one size ({_shown(size)}): give size=… (--size)"
        )
    return int(found)


def _set_side(processor: Any, size: int) -> None:
    """Let a processor make images of another size; where it crops, the resized image keeps its proportion to the crop."""
    square = {"height": size, "width": size}
    if not getattr(processor, "do_center_crop", False):
        processor.size = type(processor.size)(**square) if not isinstance(processor.size, dict) else square
        return
    old = [value for value in (processor.crop_size.get("height"), processor.crop_size.get("width")) if value]
    edge = processor.size.get("shortest_edge")
    if old == [size, size]:
        return
    before = {"shortest_edge": round(edge * size / min(old))} if edge and old else square
    processor.size = type(processor.size)(**before) if not isinstance(processor.size, dict) else before
    processor.crop_size = type(processor.crop_size)(**square) if not isinstance(processor.crop_size, dict) else square
