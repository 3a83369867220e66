"""timm: its vision transformers as encoders, such as SigLIP, SigLIP 2, DINOv2, DINOv3 and the NaFlex models.

In: the name of a model in timm, or a folder in timm's layout; weights from a safetensors file, or from the Hub in timm's own
way. Out: an `Encoder` whose images go through timm's own evaluation transform, and whose features are those of
`forward_features` without class and register tokens.

Nothing is guessed: mean, standard deviation, interpolation and crop are those of the model's `pretrained_cfg`, and learned
positions are resampled only on request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from genlip.encoders.tower import PreparedImage, Tower, missing_settings
from genlip.extras import require
from genlip.model.checkpoint import CheckpointError
from genlip.model.reading import read_json

__all__ = ["TimmEncoder", "timm"]

_CLASSES = ("VisionTransformer", "Eva", "NaFlexVit")
_NO_MATTER = ("training", "fused_attn", "grad_checkpointing")  # attributes of modules; the second differs by machine
_PREPROCESSING = ("mean", "std", "interpolation", "crop_pct")


def timm(
    name: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    pretrained: bool = True,
    size: int | None = None,
    max_patches: int | None = None,
    interpolate_positions: bool = False,
    squash: bool = False,
    preprocessing: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> TimmEncoder:
    """A vision transformer of timm as an encoder.

    name           as `timm.create_model` takes it, or a folder with timm's config.json and model.safetensors
    checkpoint     a .safetensors file, or a folder with model.safetensors; None takes timm's own weights from the Hub
    pretrained     False keeps random weights, where no checkpoint is given
    size           side of the images in pixels; None takes the size of the learned positions
    max_patches    of NaFlex models, the most patches of an image; None takes as many as the square input of its config has
    interpolate_positions  resample learned positions, as timm does, where `size` differs from theirs
    squash         resize the whole image to a square, instead of cropping it
    preprocessing  "mean", "std", "interpolation", "crop_pct", "crop_mode", where the model's `pretrained_cfg` lacks them or
                   others are wanted

    Raises ValueError for other models than vision transformers, for missing settings and for sizes that do not fit, and
    `CheckpointError` for weights that do not.
    """
    require("torchvision", "timm")
    library: Any = require("timm", "timm")
    folder, arguments = Path(name), dict[str, Any]()
    if (folder / "config.json").is_file():
        architecture, arguments = _read_config(folder)
        checkpoint = checkpoint or folder
    else:
        architecture = os.fspath(name)
        if not library.is_model(architecture):
            raise ValueError(
                f"{architecture}: timm {library.__version__} has no such model, and it is no folder with config.json"
            )
    from_hub = pretrained and checkpoint is None
    if from_hub and not getattr(library.get_pretrained_cfg(architecture), "hf_hub_id", None):
        raise CheckpointError(
            f"{architecture}: timm has no weights of this model on the Hub: give checkpoint=FILE.safetensors"
        )
    model = _create(library, architecture, from_hub, arguments)
    if checkpoint is not None:
        _load(model, Path(checkpoint))
    shown = f"timm:{name}" + (f"@{checkpoint}" if checkpoint is not None and checkpoint != folder else "")
    return TimmEncoder(
        model.to(device, dtype),
        shown,
        size=size,
        max_patches=max_patches,
        interpolate_positions=interpolate_positions,
        squash=squash,
        preprocessing=preprocessing,
    )


class TimmEncoder(Tower):
    """A `VisionTransformer`, `Eva` or `NaFlexVit` of timm with its preprocessing; arguments as for `timm`."""

    def __init__(
        self,
        model: nn.Module,
        name: str = "timm model",
        *,
        size: int | None = None,
        max_patches: int | None = None,
        interpolate_positions: bool = False,
        squash: bool = False,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> None:
        library: Any = require("timm", "timm")
        _check_class(model, name)
        self.library = f"timm {library.__version__}"
        self._native = type(model).__name__ == "NaFlexVit"
        self._module: Any = model
        self._settings: dict[str, Any] = {**_pretrained_cfg(model), **(preprocessing or {})}
        if squash:
            self._settings |= {"crop_mode": "squash", "crop_pct": 1.0}
        missing_settings(self._settings, _PREPROCESSING, f"the pretrained_cfg of {name}")
        if self._native:
            if size is not None:
                raise ValueError(f"{name} reads native images: give max_patches instead of size")
            max_patches = max_patches or self._square_patches(name)
        elif max_patches is not None:
            raise ValueError(f"{name} reads images of a fixed size: give size instead of max_patches")
        else:
            learned = getattr(self._module.patch_embed, "img_size", None)
            size = size or (learned[0] if learned else None)
            if size is None:
                raise ValueError(f"{name} does not say the size of its images: give size=…")
        super().__init__(name, model, size, max_patches, interpolate_positions)

    @property
    def width(self) -> int:
        """D."""
        return int(self._module.num_features)

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(self._module.blocks[0].attn.num_heads)

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return len(self._module.blocks)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int((self._module.embeds if self._native else self._module.patch_embed).patch_size[0])

    @property
    def learned_size(self) -> int | None:
        """Side in pixels of the images that learned positions belong to; None for rotary positions and NaFlex models."""
        if self._native or self._module.pos_embed is None:
            return None
        return int(self._module.patch_embed.img_size[0])

    @property
    def whole_image(self) -> bool:
        """Whether timm's transform keeps the edges of images."""
        return self._native or (self._settings.get("crop_mode") == "squash" and self._settings["crop_pct"] == 1.0)

    def architecture(self) -> list[list[Any]]:
        """Of each module its name, its class, and its attributes that are numbers, texts or functions."""
        return [[name, type(module).__name__, _attributes(module)] for name, module in self.model.named_modules()]

    def preprocessing(self) -> dict[str, Any]:
        """What `timm.data.create_transform` is given."""
        settings = {name: self._settings[name] for name in _PREPROCESSING}
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
        if self._native:
            return settings | {"naflex": True, "patch_size": self.patch_size, "max_seq_len": self.max_patches}
        crop = self._settings.get("crop_mode") or "center"  # timm's own default
        return settings | {"input_size": [3, self.size, self.size], "crop_mode": crop}

    def last_norm(self, features: Tensor) -> Tensor:
        """Float[.. D] -> Float[.. D]; unchanged where the model pools before its LayerNorm."""
        with torch.no_grad():
            return self._module.norm(features)

    def _prepared(self, image: Image.Image) -> PreparedImage:
        from timm.data import create_transform

        pixels = create_transform(**self.preprocessing(), is_training=False)(image)
        side = self.patch_size
        return PreparedImage(pixels.numpy(), (pixels.shape[1] // side, pixels.shape[2] // side))

    def _forward(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        return self._module.forward_features(images)[:, self._module.num_prefix_tokens :]

    def _forward_layers(self, images: Tensor, grid: tuple[int, int], layers: Sequence[int]) -> list[Tensor]:
        numbers = sorted(set(layers))
        found = self._module.forward_intermediates(images, indices=numbers, output_fmt="NLC", intermediates_only=True)
        return [found[numbers.index(layer)] for layer in layers]

    def _check_size(self) -> None:
        super()._check_size()
        if self.size is None or self.size == self._module.patch_embed.img_size[0]:
            return
        if not getattr(self._module, "dynamic_img_size", False):
            raise ValueError(
                f"{self.name} was created for one size: create it with dynamic_img_size=True for size={self.size}"
            )

    def _square_patches(self, name: str) -> int:
        missing_settings({"max_patches": self._settings.get("input_size")}, ["max_patches"], f"the pretrained_cfg of {name}")
        return int((self._settings["input_size"][1] // self.patch_size) ** 2)


def _create(library: Any, architecture: str, pretrained: bool, arguments: Mapping[str, Any]) -> nn.Module:
    """The model without its classifier. Vision transformers that can read other sizes than their own are prepared for it."""
    dynamic = {} if "naflex" in architecture else {"dynamic_img_size": True}
    try:
        model: nn.Module = library.create_model(
            architecture, pretrained=pretrained, **{"num_classes": 0, **dynamic, **arguments}
        )
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        raise ValueError(
            f"{architecture}: not a vision transformer of timm: need one of the classes {', '.join(_CLASSES)}"
        ) from None
    return model


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The public attributes that features can depend on; functions, such as activations, by name."""
    found = {name: value for name, value in vars(module).items() if name not in _NO_MATTER and not name.startswith("_")}
    shown = {name: value.__qualname__ if isinstance(value, FunctionType) else value for name, value in found.items()}
    return {name: shown[name] for name in sorted(shown) if _is_plain(shown[name])}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, (str, int, float))


def _check_class(model: nn.Module, name: str) -> None:
    kind = type(model).__name__
    if kind not in _CLASSES:
        raise ValueError(f"{name} is a {kind} of timm: need one of the classes {', '.join(_CLASSES)}")


def _pretrained_cfg(model: nn.Module) -> dict[str, Any]:
    found: Any = getattr(model, "pretrained_cfg", None) or {}
    return dict(found) if isinstance(found, Mapping) else found.to_dict()


def _read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Architecture, and arguments of `create_model`, of a folder in timm's layout."""
    config: Any = read_json(folder / "config.json")
    if not isinstance(config, dict) or "architecture" not in config:
        raise ValueError(
            f"{folder / 'config.json'}: no config of timm, which names an architecture; see {_spelling(folder)}"
        )
    arguments = {"pretrained_cfg": config.get("pretrained_cfg", {}), **config.get("model_args", {})}
    return str(config["architecture"]), arguments


def _spelling(folder: Path) -> str:
    return f"transformers:{folder} for a model of Transformers, and {folder} for one of genlip"


def _load(model: nn.Module, path: Path) -> None:
    """Load a safetensors file; a classifier in it is ignored. Raises `CheckpointError` for anything that does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix != ".safetensors":
        raise CheckpointError(
            f"{file}: weights are read from .safetensors files alone, because other formats can run code; convert it with "
            "safetensors.torch.save_file"
        )
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: damaged: {error}") from error
    needed = model.state_dict()
    classifiers = _pretrained_cfg(model).get("classifier") or ()
    ignored = tuple(f"{one}." for one in ([classifiers] if isinstance(classifiers, str) else classifiers))
    faults = [f"{name}: missing" for name in needed if name not in weights]
    faults += [
        f"{name}: not a parameter of this model" for name in weights.keys() - needed.keys() if not name.startswith(ignored)
    ]
    faults += [
        f"{name}: has {list(weights[name].shape)}, needs {list(value.shape)}"
        for name, value in needed.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if faults:
        shown = "\n  ".join(sorted(faults)[:10])
        raise CheckpointError(f"{file}: {len(faults)} parameters do not fit {type(model).__name__}:\n  {shown}")
    model.load_state_dict({name: weights[name] for name in needed})
