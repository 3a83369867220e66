"""Weight files: the files of a folder that hold a model's parameters, their shapes and values.

In: the folder of a checkpoint. Out: tensors by published name.
Safetensors are preferred. `pytorch_model.bin` is a pickle, which can contain code. It is read only if there are no
safetensors, and only by PyTorch's restricted unpickler, which builds tensors and calls nothing that a file names.
"""

from __future__ import annotations

import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genlip.model.fields import checked
from genlip.model.file_kinds import LFS_POINTER, but_is, head_of, is_lfs_pointer
from genlip.model.files import one_line
from genlip.model.reading import read_json
from genlip.model.writing import to_json, write_whole

__all__ = [
    "CONFIG",
    "INDEX",
    "WEIGHTS",
    "CheckpointError",
    "index_of",
    "read_weights",
    "some",
    "stored_shapes",
    "weight_files",
    "write_model",
]

_HEADER_BYTES = 2**25

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_PICKLE, _PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# What PyTorch raises for damaged files.
_DAMAGE = (
    RuntimeError, OSError, ValueError, LookupError, EOFError, TypeError, AttributeError, ArithmeticError, MemoryError,
    AssertionError, zipfile.BadZipFile, struct.error,
)  # fmt: skip


class CheckpointError(ValueError):
    """A folder that is not a GenLIP checkpoint, or is incomplete. The message says what was found and needed."""


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: a single one, or those that an index names. Raises `CheckpointError`."""
    kinds = [(WEIGHTS, INDEX), (_PICKLE, _PICKLE_INDEX)]
    for single, index in kinds[:1] if any(folder.glob("*.safetensors")) else kinds:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _indexed(folder / index)
    raise CheckpointError(
        f"{folder}: not a checkpoint: it has neither {WEIGHTS} nor {INDEX} "
        f"({_PICKLE} would do in a folder without any safetensors)"
    )


def index_of(files: Sequence[Path]) -> Path | None:
    """The index of these weight files, if there is one."""
    index = files[0].parent / (INDEX if files[0].suffix == ".safetensors" else _PICKLE_INDEX)
    return index if files[0].name not in (WEIGHTS, _PICKLE) else None


def _indexed(index: Path) -> list[Path]:
    """The files that an index names. They must have its format, be inside its folder, and exist."""
    kind = ".bin" if index.name == _PICKLE_INDEX else ".safetensors"
    try:
        places = checked(read_json(index), dict[str, Any], "it").get("weight_map")
        names = sorted(set(checked(places, dict[str, str], "weight_map").values()))
    except ValueError as error:
        raise CheckpointError(f"{index}: not an index of weights: {error}") from error
    strange = [name for name in names if not name.endswith(kind) or not _is_inside(name)]
    if strange or not names:
        found = some(strange) if strange else "nothing"
        raise CheckpointError(f"{index}: names {found}, and must name {kind} files inside its own folder")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise CheckpointError(f"{index}: names files that are not there: {some(missing)}; fetch or copy the folder again")
    return [index.parent / name for name in names]


def _is_inside(name: str) -> bool:
    """Whether a relative name stays inside its folder. Links may lead outside: the cache of the Hub consists of them."""
    path = PureWindowsPath(name)  # knows both kinds of separators, and drives
    return not path.anchor and ".." not in path.parts


def some(names: Sequence[str], most: int = 20) -> str:
    """Names for a message: the first ones, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def stored_shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in the files, by name; no values are read. Raises `CheckpointError`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        head = head_of(file)
        if is_lfs_pointer(head):
            raise CheckpointError(f"{file}: {LFS_POINTER}")
        if file.suffix != ".safetensors":
            shapes |= {name: tuple(value.shape) for name, value in _unpickled(file, "meta").items()}
            continue
        try:
            _check_header(file)
            with safe_open(file, "pt") as stored:
                shapes |= {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file}: cannot be read as safetensors: {one_line(str(error))}{but_is(head, 'safetensors')}"
            ) from error
    return shapes


def _check_header(file: Path) -> None:
    """Refuse a header that would need much memory; that of our largest model has about 60 KiB."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
    if _HEADER_BYTES < length <= file.stat().st_size:
        raise CheckpointError(f"{file}: its header has {length:,} bytes; the limit is {_HEADER_BYTES:,}")


def read_weights(files: Sequence[Path], wanted: Container[str], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The wanted tensors of the files, by name, on a device. Raises `CheckpointError`."""
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, "pt", device=str(device)) as stored:
                    weights |= {name: stored.get_tensor(name) for name in stored.keys() if name in wanted}  # noqa: SIM118
            except SafetensorError as error:
                raise CheckpointError(f"{file}: cannot be read as safetensors: {one_line(str(error))}") from error
            continue
        found = _unpickled(file, device)
        for name in [name for name in found if name in wanted]:
            # A copy: in a pickle, tensors may share memory, and they change if their mapped file does.
            weights[name] = found.pop(name).clone(memory_format=torch.contiguous_format)
    return weights


def _unpickled(file: Path, device: torch.device | str) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote. Raises `CheckpointError` where it holds anything else."""
    try:
        _check_archive(file)
        found = torch.load(file, map_location=device, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # its own message recommends to trust the file
        wish = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks to run {wish[1]}" if wish else "it holds more than tensors, or is damaged"
        raise CheckpointError(
            f"{file}: refused: {reason}; weights need no program: get them as safetensors, from someone you trust"
        ) from error
    except CheckpointError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: cannot be read as PyTorch weights: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{file}: holds {type(found).__name__}, need a dictionary of tensors and nothing else")
    _check_memory(file, found)
    return dict(found)


def _check_archive(file: Path) -> None:
    """Refuse an archive that unpacks to more bytes than the file has; `torch.save` does not compress."""
    if not zipfile.is_zipfile(file):
        return  # PyTorch reports what is wrong
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > file.stat().st_size:
                raise CheckpointError(f"{file}: refused: {member.filename} is compressed, and PyTorch compresses no weights")


def _check_memory(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that repeat few stored numbers many times (stride 0): a copy could fill the memory."""
    total, most = 0, 2 * file.stat().st_size  # embeddings and head may be one tensor, under two names
    for name, value in tensors.items():
        if value.layout is not torch.strided:
            raise CheckpointError(f"{file}: {name} is {value.layout}, need plain tensors")
        total += value.numel() * value.element_size()
        if total > most:
            raise CheckpointError(f"{file}: {name} of shape {list(value.shape)} has more numbers than the file holds")


def write_model(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write `config.json` and `model.safetensors`, each atomically, the config last.

    An old config is removed before the new weights are put in place, so the two are never there together. Raises OSError
    with the file's name if writing fails.
    """
    file, settings = folder / WEIGHTS, folder / CONFIG
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with write_whole(settings) as new_settings:
        new_settings.write_text(to_json(config, indent=2) + "\n", encoding="utf8")
        with write_whole(file) as part:
            save_file(tensors, part, metadata={"format": "pt"})
            shutil.copymode(new_settings, part)  # safetensors makes files readable for the owner only
            settings.unlink(missing_ok=True)
