"""Checkpoints: a folder with `config.json` and `model.safetensors`, under the published names.

In: a folder, or the id of a repository on the Hugging Face Hub. Out: a `GenLIP`.
Every parameter must be there and have the right shape; nothing is loaded partially. Other tensors are named in a warning. If
a GenLIP of another config has a parameter of that name, it is an error: `config.json` then describes another network.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from genlip.model.config import GenLIPConfig
from genlip.model.download import fetch
from genlip.model.genlip import GenLIP
from genlip.model.reading import read_json
from genlip.model.weights import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    read_weights,
    some,
    stored_shapes,
    weight_files,
    write_model,
)

__all__ = [
    "CheckpointError",
    "check",
    "checkpoint_folder",
    "load",
    "model_near",
    "read_config",
    "save",
    "save_weights",
    "shipped_models",
    "step_folders",
]

log = logging.getLogger(__name__)

_SHIPPED = Path(__file__).parents[1] / "shipped"
_CONFIG_BYTES, _MOST_LAYERS = 2**22, 1024
_FAR_MORE = 8  # a model with so many times more parameters than the files hold is not built
_STEP = re.compile(r"step-\d{8,}")  # excludes copies with other names
_ENCODER = ("vision_embeddings.", "visual.", "ln_post.")
_LANGUAGE = ("embeddings.weight", "lm_head.weight")
# Parameters that depend on the config: layers, gated feed-forward, LayerScale, maps between the widths.
_OF_SOME_GENLIP = re.compile(
    r"(visual\.layers\.\d+\.(layer_norm[12]|self_attn\.(q|k|v|out)_proj|mlp\.(fc1|fc2|gate_fc)|layer_scale[12])|in_proj|proj)"
    r"\.(weight|bias|lambda1)"
)

Shapes = Mapping[str, tuple[int, ...]]


def save(model: GenLIP, folder: str | os.PathLike[str]) -> Path:
    """Write `config.json` and `model.safetensors` (published names and keys), each file atomically.

    That is all `genlip.load` needs. A `Speaker` also needs to know how images and captions were prepared: copy
    `preprocessing.json` and `tokenizer.json` from the folder that the model was loaded from or trained in.
    """
    return save_weights(model.state_dict(), model.config, folder)


def save_weights(weights: Mapping[str, Tensor], config: GenLIPConfig, folder: str | os.PathLike[str]) -> Path:
    """The same for weights and a config without a model, as a training run holds them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, weights, config.to_dict())
    return folder


def load(
    path_or_hub_id: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> GenLIP:
    """Read a GenLIP, ours or a published one, ready for inference (`eval` mode).

    path_or_hub_id  a folder with config.json and weights (safetensors, else pytorch_model.bin; one file or an indexed
                    set), or "owner/name"
    dtype           converts the parameters; None keeps the dtype of the file
    revision        branch, tag or commit on the Hub

    Raises `CheckpointError` if the folder is not a complete checkpoint, or if weights are NaN or infinite. It names the
    parameters that are missing or have another shape.
    """
    folder = checkpoint_folder(path_or_hub_id, revision)
    model, files = _empty_model(folder)
    weights = read_weights(files, model.state_dict(), device)
    if strange := [f"{name} is {value.dtype}" for name, value in weights.items() if not value.is_floating_point()]:
        raise CheckpointError(f"{folder}: parameters must be floating-point numbers, and {some(strange)}")
    if broken := [name for name, value in weights.items() if not _is_finite(value)]:
        raise CheckpointError(f"{folder}: weights hold NaN or infinity: {some(broken)}; the model is damaged, or diverged")
    model.load_state_dict({n: w.to(dtype) if dtype else w for n, w in weights.items()}, assign=True)
    return model.requires_grad_(True).eval()


def _is_finite(value: Tensor) -> bool:
    """Whether all values are finite; allocates no tensor of this size."""
    wide = value.float() if value.element_size() == 1 else value
    return not value.numel() or all(part.isfinite() for part in torch.aminmax(wide))


def check(folder: str | os.PathLike[str]) -> GenLIPConfig:
    """The config of a folder that `load` can read; the weights are not read. Raises `CheckpointError`."""
    return _empty_model(Path(folder))[0].config


def checkpoint_folder(path_or_hub_id: str | os.PathLike[str], revision: str | None = None, *, weights: bool = True) -> Path:
    """The local folder of a checkpoint: one of this name, that of a model in the package, or one fetched from the Hub.

    weights  also fetch the weights, not only config and preprocessing
    """
    return _local(path_or_hub_id) or _fetched(path_or_hub_id, revision, weights)


def read_config(path_or_hub_id: str | os.PathLike[str], revision: str | None = None) -> GenLIPConfig:
    """Only the config of a checkpoint; from the Hub, the weights are not fetched. Raises `CheckpointError`."""
    folder = checkpoint_folder(path_or_hub_id, revision, weights=False)
    config = _read_config(folder)
    _check_layers(config, folder)
    return config


def step_folders(run: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a run's folder, the newest last."""
    folders = [path for path in (Path(run) / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(folders, key=lambda path: int(path.name.removeprefix("step-")))


def model_near(path: str | os.PathLike[str]) -> Path | None:
    """The model that is probably meant by a path without one: of a run in this folder or above, its model or newest
    checkpoint."""
    folder = Path(path)
    for run in (folder, *folder.parents[:2]):
        for model in (run / "model", *step_folders(run)[::-1]):
            if (model / CONFIG).is_file() and model != folder:
                return model
    return None


def _did_you_mean(path: str | os.PathLike[str]) -> str:
    return f"; did you mean {near}?" if (near := model_near(path)) else ""


def _fetched(path_or_hub_id: str | os.PathLike[str], revision: str | None, weights: bool = True) -> Path:
    try:
        return fetch(os.fspath(path_or_hub_id), revision, weights)
    except CheckpointError as error:
        if not (hint := _did_you_mean(path_or_hub_id)):
            raise
        raise CheckpointError(f"{error}{hint}") from error


def _local(path_or_hub_id: str | os.PathLike[str]) -> Path | None:
    """The local folder of this name; None if there is none and the name could be a Hub id."""
    folder, name = Path(path_or_hub_id), os.fspath(path_or_hub_id)
    if folder.is_dir():
        return folder
    if name in shipped_models():
        return _SHIPPED / name
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        others = ["a Hub id owner/name", *shipped_models()]
        needed = f"; need a folder with {CONFIG} and {WEIGHTS}, or {', or '.join(others)}"
        raise CheckpointError(f"{name}: no such folder{_did_you_mean(folder) or needed}")
    return None


def shipped_models() -> list[str]:
    """Names of the models in the package, which every function that loads a model takes."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{CONFIG}"))


def _read_config(folder: Path) -> GenLIPConfig:
    try:
        stored = read_json(folder / CONFIG, _CONFIG_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: not a checkpoint: it has no {CONFIG}{_did_you_mean(folder)}") from None
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    try:
        return GenLIPConfig.from_dict(stored)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error


def _empty_model(folder: Path) -> tuple[GenLIP, list[Path]]:
    """The model of a folder on the meta device, and its weight files, which hold every parameter."""
    config, files = _read_config(folder), weight_files(folder)
    found = stored_shapes(files)
    if config.num_hidden_layers > len(found):  # before so many are built
        raise CheckpointError(f"{folder}: {config.num_hidden_layers} layers in {CONFIG}, but only {len(found)} parameters")
    _check_layers(config, folder)
    held = sum(map(math.prod, found.values()))
    if (needed := _fewest_parameters(config)) > _FAR_MORE * held:
        raise CheckpointError(
            f"{folder}: a model of the sizes in {CONFIG} cannot be built: it has at least {needed:,} parameters, and the "
            f"weights hold {held:,}"
        )
    try:
        with torch.device("meta"), _NoFirstValues():
            model = GenLIP(config)
    except (RuntimeError, TypeError) as error:  # more bytes, or a longer side, than PyTorch can count
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{folder}: a model of the sizes in {CONFIG} cannot be built: {reason}") from error
    shapes = {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}
    _check_parameters(shapes, found, folder)
    if unread := [name for name in found if name not in shapes]:
        log.warning("%s: not parameters of a GenLIP, left out: %s", folder, some(unread))
    return model, files


class _NoFirstValues(TorchFunctionMode):
    """Skip the normal initialisation: parameters are read later, and on the meta device it would import PyTorch's
    compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **(kwargs or {}))


def _fewest_parameters(config: GenLIPConfig) -> int:
    """A lower bound: the large matrices without head and token embedding, which an encoder may lack."""
    width, hidden = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (4 * width**2 + 2 * width * hidden) + width * config.patch_dim


def _check_layers(config: GenLIPConfig, folder: Path) -> None:
    """Refuse too many layers: each takes time to build, even without weights."""
    if config.num_hidden_layers > _MOST_LAYERS:
        found = config.num_hidden_layers
        raise CheckpointError(f"{folder / CONFIG}: num_hidden_layers is {found}: it must be at most {_MOST_LAYERS}")


def _check_parameters(needed: Shapes, found: Shapes, folder: Path) -> None:
    if _is_encoder_alone(needed, found):
        raise CheckpointError(
            f"{folder}: holds only the encoder, neither {' nor '.join(_LANGUAGE)}: genlip.load needs the whole model; "
            "GenLIPVisionModel.from_pretrained, in genlip's export.transformers, reads an encoder"
        )
    faults = [f"{name}: missing, needs {list(shape)}" for name, shape in needed.items() if name not in found]
    faults += [
        f"{name}: no parameter of the model in {CONFIG}, has {list(shape)}"
        for name, shape in found.items()
        if name not in needed and _OF_SOME_GENLIP.fullmatch(name)
    ]
    faults += [
        f"{name}: has {list(found[name])}, needs {list(shape)}"
        for name, shape in needed.items()
        if name in found and found[name] != shape
    ]
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" if len(faults) > 20 else "")
        raise CheckpointError(f"{folder}: the weights do not fit {CONFIG}:\n  {shown}")


def _is_encoder_alone(needed: Shapes, found: Shapes) -> bool:
    """Whether the files hold all encoder parameters, and neither token embedding nor head."""
    encoder = [name for name in needed if name.startswith(_ENCODER)]
    return all(found.get(name) == needed[name] for name in encoder) and not any(name in found for name in _LANGUAGE)
