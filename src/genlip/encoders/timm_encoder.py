"""timm: its vision transformers as encoders, such as SigLIP, SigLIP 2, DINOv2, DINOv3 and the NaFlex models.

In: the name of a model in timm, or a folder in timm's layout; weights from a safetensors file, here or on the Hub. Out:
an `Encoder` whose images go through timm's own evaluation transform, and whose features are those of `forward_features`
without class and register tokens.

Nothing is guessed: mean, standard deviation, interpolation and crop are those that the weights were published with. They are
in config.json of a folder, and in timm itself for its own weights. Other weights need the tag of the weights that they were
made from, as in NAME.TAG, or the settings themselves. Learned positions are resampled only on request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from genlip.encoder import Prepared
from genlip.encoders.tower import PreparedImage, Tower, check_limits, name_with_choices, placed
from genlip.extras import require
from genlip.model.checkpoint import CheckpointError
from genlip.model.download import fetch
from genlip.model.reading import read_json
from genlip.suggestions import check_keywords

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

    name           NAME or NAME.TAG of timm, or a folder with timm's config.json and model.safetensors
    checkpoint     a .safetensors file, or a folder with model.safetensors; None takes timm's own weights from the Hub
    pretrained     False keeps random weights, where no checkpoint is given; no file of weights is then needed, and the name
                   begins with "random:"
    size           side of the images in pixels; None takes the size of the learned positions
    max_patches    of NaFlex models, the most patches of an image; None takes as many as the square input of its config has
    interpolate_positions  resample learned positions, as timm does, where `size` differs from theirs
    squash         resize the whole image to a square, instead of cropping it
    preprocessing  "mean", "std", "interpolation", "crop_pct", "crop_mode", where config.json lacks them, where the name has
                   no tag beside a checkpoint, or where others are wanted

    Raises ValueError for other models than vision transformers, for missing settings and for sizes that do not fit, and
    `CheckpointError` for weights that do not.
    """
    require("torchvision", "timm")
    library: Any = require("timm", "timm")
    folder, arguments = Path(name), dict[str, Any]()
    own: dict[str, Any] | None = None  # preprocessing of the weights; None for that of timm's tag
    if (folder / "config.json").is_file():
        architecture, arguments, own = _read_config(folder)
        checkpoint = checkpoint or (folder if pretrained else None)
    else:
        architecture = os.fspath(name)
        _check_name(library, architecture)
        if checkpoint is not None and "." not in architecture:
            _check_untagged(library, architecture, preprocessing or {})
            own = {}
    model = _model(library, architecture, arguments, checkpoint, pretrained)
    if own is not None:  # timm fills what is missing in it with defaults
        model.pretrained_cfg = own  # type: ignore[assignment]
    shown = f"timm:{name}" if pretrained or checkpoint is not None else f"random:timm:{name}"
    if checkpoint is not None and checkpoint != folder:
        shown += f"@{checkpoint}"
    return TimmEncoder(
        placed(model, device, dtype), shown, size=size, max_patches=max_patches, interpolate_positions=interpolate_positions,
        squash=squash, preprocessing=preprocessing, created_as=(architecture, {**_dynamic(architecture), **arguments}),
    )  # fmt: skip


class TimmEncoder(Tower):
    """A `VisionTransformer`, `Eva` or `NaFlexVit` of timm with its preprocessing; arguments as for `timm`.

    Attributes:
        created_as: name and arguments of `timm.create_model` besides num_classes=0, for what creates the model again; None
            where they are not known.
    """

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
        created_as: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        library: Any = require("timm", "timm")
        _check_class(model, name)
        self.created_as = created_as
        self.library = f"timm {library.__version__}"
        self._native = type(model).__name__ == "NaFlexVit"
        self._module: Any = model
        own, chosen = _pretrained_cfg(model), dict(preprocessing or {})
        check_keywords("preprocessing", chosen, [*_PREPROCESSING, "crop_mode"])
        if squash and (self._native or chosen.keys() & {"crop_pct", "crop_mode"}):
            reason = "reads native images, which are never cropped" if self._native else "has a crop in preprocessing"
            raise ValueError(f"{name} {reason}: leave squash (--squash) out")
        self._settings: dict[str, Any] = {**own, **chosen} | ({"crop_mode": "squash", "crop_pct": 1.0} if squash else {})
        if missing := [key for key in _PREPROCESSING if self._settings.get(key) is None]:
            raise ValueError(
                f"{name}: its pretrained_cfg does not say {', '.join(missing)} of its images: complete it, or in "
                f"Python give {_arguments(missing)}"
            )
        check_limits(name, self._native, size, max_patches)
        if self._native:
            max_patches = max_patches or self._patches_of_input(name)
        else:
            size = size or self._own_size(name)
        changed = {key: value for key, value in chosen.items() if _listed(own.get(key)) != _listed(value)}
        super().__init__(name_with_choices(name, squash, changed), model, size, max_patches, interpolate_positions)
        self._check_square()

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

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""
        return list(self._module.blocks)

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens before the patches."""
        return int(self._module.num_prefix_tokens)

    @property
    def unused(self) -> frozenset[str]:
        """Parts of the names of parameters that features of patches do not depend on."""
        return frozenset({"attn_pool", "fc_norm", "head"})

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Whether the blocks are computed again in the backward pass."""
        self._module.set_grad_checkpointing(enabled)

    def architecture(self) -> list[list[Any]]:
        """Of each module its name, its class, and its attributes that are numbers, texts or functions."""
        return [[name, type(module).__name__, _attributes(module)] for name, module in self.model.named_modules()]

    def preprocessing(self) -> dict[str, Any]:
        """What `timm.data.create_transform` is given."""
        settings = {name: self._settings[name] for name in _PREPROCESSING}
        settings = {key: _listed(value) for key, value in settings.items()}
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
        return self._module.forward_features(images)[:, self.prefix_tokens :]

    def _forward_padded(self, images: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        place = torch.arange(images.shape[1])
        height, width = torch.tensor(grids).T[..., None]
        valid = place < height * width
        coordinates = torch.stack([place // width, place % width], dim=-1) * valid[..., None]
        found = self._module.forward_features(
            images, patch_coord=coordinates.to(images.device), patch_valid=valid.to(images.device)
        )
        return found["patches"][:, self.prefix_tokens :]

    def _patches_of(self, image: Prepared) -> np.ndarray:
        from timm.data.naflex_transforms import patchify_image

        pixels, side = torch.from_numpy(image.patches), self.patch_size
        return patchify_image(pixels, (side, side), pad=False, include_info=False).numpy()

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

    def _own_size(self, name: str) -> int:
        """Side of the images of a model with a fixed size, as it was created."""
        found = getattr(self._module.patch_embed, "img_size", None)
        if found is None or (self.learned_size is None and not self._settings.get("input_size")):
            raise ValueError(f"{name} does not say the size of its images: give size=… (--size)")
        return int(found[0])

    def _patches_of_input(self, name: str) -> int:
        """Patches of an image of the size that a NaFlex model was published with."""
        found = self._settings.get("input_size")
        if found is None:
            raise ValueError(f"{name} does not say the size of its images: give max_patches=… (--max-patches)")
        return int((found[1] // self.patch_size) * (found[2] // self.patch_size))

    def _check_square(self) -> None:
        """Raise ValueError for patches, or for a grid of learned positions, that are not square."""
        embed = self._module.embeds if self._native else self._module.patch_embed
        for what, found in (("patches", embed.patch_size), ("images", getattr(embed, "img_size", None) or (0, 0))):
            if found[0] != found[1]:
                raise ValueError(
                    f"{self.name} reads {what} of {found[0]} x {found[1]} pixels: only square ones are supported"
                )


def _check_name(library: Any, name: str) -> None:
    """Raise ValueError for anything else than NAME or NAME.TAG of timm."""
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        raise ValueError(
            f"{name}: {name.partition(':')[0]}: is not supported: give a name of timm, or a folder with config.json and "
            "model.safetensors, such as a downloaded repository"
        )
    if not library.is_model(name):
        raise ValueError(f"{name}: timm {library.__version__} has no such model, and it is no folder with config.json")
    try:
        library.get_pretrained_cfg(name)
    except RuntimeError:
        raise ValueError(f"{name}: timm {library.__version__} has no such tag: need {_tags(library, name)}") from None


def _tags(library: Any, name: str) -> str:
    architecture = name.partition(".")[0]
    found = library.list_pretrained(f"{architecture}.*")
    return f"one of {', '.join(found)}" if found else f"{architecture}, which has no tags"


def _check_untagged(library: Any, architecture: str, preprocessing: Mapping[str, Any]) -> None:
    """Raise ValueError where neither a tag nor the settings say how images of a checkpoint are prepared."""
    if missing := [key for key in _PREPROCESSING if preprocessing.get(key) is None]:
        raise ValueError(
            f"{architecture} with a checkpoint: its name has no tag, so {', '.join(missing)} of its images are unknown: "
            f"name the weights that the checkpoint was made from, {_tags(library, architecture)}; or in Python give "
            f"{_arguments(missing)}"
        )


def _arguments(missing: Sequence[str]) -> str:
    return "preprocessing={" + ", ".join(f'"{key}": …' for key in missing) + "}"


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _model(
    library: Any,
    architecture: str,
    arguments: Mapping[str, Any],
    checkpoint: str | os.PathLike[str] | None,
    pretrained: bool,
) -> nn.Module:
    """The model with the weights of a checkpoint, with timm's own, or with random ones."""
    if pretrained and checkpoint is None:
        model = _from_hub(library, architecture)
    else:
        model = _create(library, architecture, arguments)
    _check_class(model, architecture)
    if checkpoint is not None:
        _load(model, Path(checkpoint))
    return model


def _from_hub(library: Any, architecture: str) -> nn.Module:
    """The model with timm's own weights, from a safetensors file alone. Raises `CheckpointError` where there is none."""
    repository = getattr(library.get_pretrained_cfg(architecture), "hf_hub_id", None)
    if not repository:
        raise CheckpointError(
            f"{architecture}: timm has no weights of this model on the Hub: give checkpoint=FILE.safetensors (--checkpoint)"
        )
    _check_class(_create(library, architecture, {"depth": 1}), architecture)  # before anything large is downloaded
    try:
        file = fetch(repository, pickles=False) / "model.safetensors"
    except CheckpointError as error:
        raise CheckpointError(
            f"{architecture}: weights published with timm: {error}; or give checkpoint=FILE.safetensors (--checkpoint)"
        ) from error
    if not file.is_file():
        raise CheckpointError(
            f"{repository}: it has no model.safetensors; other formats are not read, because they can run code; "
            "give checkpoint=FILE.safetensors (--checkpoint)"
        )
    return _create(library, architecture, {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}})


def _create(library: Any, architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model without its classifier. Vision transformers that can read other sizes than their own are prepared for it."""
    try:
        model: nn.Module = library.create_model(architecture, **{"num_classes": 0, **_dynamic(architecture), **arguments})
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        kind = re.match(r"(\w+)\.__init__", str(error))
        raise ValueError(_unsupported(architecture, kind[1] if kind else "model of another class")) from None
    return model


def _dynamic(architecture: str) -> dict[str, Any]:
    """The argument by which a vision transformer reads images of several sizes."""
    return {} if "naflex" in architecture else {"dynamic_img_size": True}


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
        raise ValueError(_unsupported(name, kind))


def _unsupported(name: str, kind: str) -> str:
    return f"{name}: timm's {kind} is not among the supported classes {', '.join(_CLASSES)}"


def _pretrained_cfg(model: nn.Module) -> dict[str, Any]:
    found: Any = getattr(model, "pretrained_cfg", None) or {}
    return dict(found) if isinstance(found, Mapping) else found.to_dict()


def _read_config(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Architecture, arguments of `create_model`, and the stored `pretrained_cfg` of a folder in timm's layout."""
    config: Any = read_json(folder / "config.json")
    if not isinstance(config, dict) or "architecture" not in config:
        raise ValueError(
            f"{folder / 'config.json'}: no config of timm, which names an architecture; see {_spelling(folder)}"
        )
    stored = config.get("pretrained_cfg", config)  # older files have the settings beside the architecture
    known = {key: stored[key] for key in ("input_size", "fixed_input_size", "classifier") if key in stored}
    return str(config["architecture"]), {"pretrained_cfg": known, **config.get("model_args", {})}, dict(stored)


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
    classifiers = _pretrained_cfg(model).get("classifier") or "head"
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
