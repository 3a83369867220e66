"""Checkpoints: a folder with `config.json` and `model.safetensors`, under the published names.

In: a folder, or the id of a repository on the Hugging Face Hub. Out: a `GenLIP`.
Nothing is unpickled, and nothing is loaded in part: every parameter must be there, be wanted, and have the right shape.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP

__all__ = ["CheckpointError", "checkpoint_folder", "load", "read_config", "save", "save_weights"]

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


class CheckpointError(ValueError):
    """A folder that is not a GenLIP checkpoint, or not a whole one. The message says what was found and needed."""


def save(model: GenLIP, folder: str | os.PathLike[str]) -> Path:
    """Write `config.json` and `model.safetensors` (published names and keys); each file appears whole or not at all."""
    return save_weights(model.state_dict(), model.config, folder)


def save_weights(weights: Mapping[str, torch.Tensor], config: GenLIPConfig, folder: str | os.PathLike[str]) -> Path:
    """The same of a model's weights and config, as a run keeps them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    partial_weights, partial_config = folder / f"{_WEIGHTS}.partial", folder / f"{_CONFIG}.partial"
    save_file(tensors, partial_weights, metadata={"format": "pt"})
    partial_config.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf8")
    shutil.copymode(partial_config, partial_weights)  # safetensors gives its files to their owner alone
    partial_weights.replace(folder / _WEIGHTS)
    partial_config.replace(folder / _CONFIG)
    return folder


def load(
    path_or_hub_id: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> GenLIP:
    """Read a GenLIP, ours or a published one, ready for inference (`eval` mode).

    path_or_hub_id  a folder with config.json and safetensors weights (one file or an indexed set), or "owner/name"
    dtype           converts the floating-point parameters; None keeps what the file holds
    revision        branch, tag or commit on the Hub

    Raises `CheckpointError` where the folder is not a whole checkpoint, naming every parameter that is missing, not
    known, or of another shape.
    """
    folder = checkpoint_folder(path_or_hub_id, revision)
    config = _read_config(folder)
    files = _weight_files(folder)
    found = _stored_shapes(files)
    if config.num_hidden_layers > len(found):  # before so many are built
        raise CheckpointError(f"{folder}: {config.num_hidden_layers} layers in {_CONFIG}, but only {len(found)} parameters")
    with torch.device("meta"):
        model = GenLIP(config)
    _check_parameters({n: tuple(p.shape) for n, p in model.state_dict().items()}, found, folder)
    weights = {name: value for file in files for name, value in _read(file, device).items()}
    model.load_state_dict({n: w.to(dtype) if dtype else w for n, w in weights.items()}, assign=True)
    return model.requires_grad_(True).eval()


def checkpoint_folder(path_or_hub_id: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The local folder of a checkpoint, fetched from the Hub if the name is "owner/name" and no such folder exists."""
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        return folder
    name = os.fspath(path_or_hub_id)
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{name}: no such folder; need a folder with {_CONFIG} and {_WEIGHTS}, or a Hub id owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{name}: no such folder, and the Hugging Face Hub did not give it: {reason}") from error


def read_config(path_or_hub_id: str | os.PathLike[str], revision: str | None = None) -> GenLIPConfig:
    """The config of a checkpoint alone. Raises `CheckpointError`."""
    return _read_config(checkpoint_folder(path_or_hub_id, revision))


def _read_config(folder: Path) -> GenLIPConfig:
    try:
        return GenLIPConfig.from_dict(json.loads((folder / _CONFIG).read_text(encoding="utf8")))
    except FileNotFoundError:
        hint = f"; did you mean {folder / 'model'}?" if (folder / "model" / _CONFIG).is_file() else ""
        raise CheckpointError(f"{folder}: not a checkpoint: it has no {_CONFIG}{hint}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _CONFIG}: {error}") from error


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf8"))
            return [folder / name for name in sorted({Path(name).name for name in index["weight_map"].values()})]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{folder / _INDEX}: not an index of weights: {error!r}") from error
    raise CheckpointError(f"{folder}: not a checkpoint: it has neither {_WEIGHTS} nor {_INDEX}")


def _stored_shapes(files: list[Path]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as stored:
                shapes |= {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: cannot be read as safetensors: {error}") from error
    return shapes


def _check_parameters(needed: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], folder: Path) -> None:
    faults = [f"{name}: missing, needs {list(shape)}" for name, shape in needed.items() if name not in found]
    faults += [
        f"{name}: not a parameter of this model, has {list(shape)}" for name, shape in found.items() if name not in needed
    ]
    faults += [
        f"{name}: has {list(found[name])}, needs {list(shape)}"
        for name, shape in needed.items()
        if name in found and found[name] != shape
    ]
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" if len(faults) > 20 else "")
        raise CheckpointError(f"{folder}: the weights do not fit {_CONFIG}:\n  {shown}")


def _read(file: Path, device: torch.device | str) -> dict[str, torch.Tensor]:
    with safe_open(file, "pt", device=str(device)) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
