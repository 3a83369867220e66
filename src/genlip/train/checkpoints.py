"""Training checkpoints: one folder per save, written in the background, and visible only when it is complete.

In: the training state. Out: `checkpoints/step-00001000/`, the folder that the task exports (for GenLIP, `genlip.load` reads
it) with what resuming needs in addition:

    training/*.safetensors   weights, optimizer and averaged weights; each rank writes its shards
    state.json               counts, positions in the data, versions
    run.yaml                 the resolved run
    checksums.json           of all these files, SHA-256

Everything is copied to host memory, written by a thread into a folder named .partial, synchronised to the disk, and renamed.
`torch.distributed.checkpoint` shards and reshards. Its default format pickles an index. This one uses safetensors only, so
nothing is ever unpickled. The state of random generators is not stored: the draws follow from seed, update and pack.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.optim import Optimizer

from genlip.model.checkpoint import step_folders
from genlip.model.fields import checked
from genlip.model.reading import read_json
from genlip.recipes.recipe import Run, UnknownKeyError, load_recipe, to_yaml
from genlip.train.ema import EMA
from genlip.train.parallel import World

__all__ = [
    "Checkpoints", "added", "check_whole", "copy_for", "latest", "read_progress", "read_run", "restore", "training_tensors",
]  # fmt: skip

log = logging.getLogger(__name__)

_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)
_SUMS = "checksums.json"
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")


class Checkpoints:
    """Writes checkpoints in the background, one at a time.

    The newest `run.keep_last` are kept, those that `run.keep_every` names, and those to which users added files, such as
    evaluations.
    """

    def __init__(self, run: Run, world: World) -> None:
        self.run, self.world = run, world
        self.folder = Path(run.out) / "checkpoints"
        self.group = dist.new_group(backend="gloo") if world.ranks > 1 else None  # apart from the collectives of training
        self._threads = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._reported: set[Path] = set()  # checkpoints that are kept because of added files
        if world.leads:
            for left in self.folder.glob("*.partial"):  # of a process that was killed
                shutil.rmtree(left)

    def save(self, step: int, tensors: dict[str, Tensor], progress: dict[str, Any], export: Callable[[Path], None]) -> Path:
        """Copy `tensors` and start to write them; all ranks must call. `export` writes the model's folder, on rank 0.

        Raises OSError if the previous save could not be written.
        """
        self.finish()
        target = self.folder / f"step-{step:08d}"
        if self.world.broadcast(target.is_dir()):  # a signal just after a save requests the same again
            return target
        partial = target.with_suffix(".partial")
        try:
            if self.world.leads:
                (partial / "training").mkdir(parents=True)
            self.world.barrier()
            writer = HuggingFaceStorageWriter(str(partial / "training"), save_distributed=True)
            alone = self.world.ranks == 1
            shards = async_save(tensors, storage_writer=writer, process_group=self.group, no_dist=alone)  # type: ignore[arg-type]
        except (OSError, CheckpointException) as error:
            raise self._failed(target, error) from error
        self._writing = self._threads.submit(self._commit, shards, target, {"step": step, **progress}, export)
        return target

    def check(self) -> None:
        """Raise OSError if the save in the background has failed."""
        if self._writing is not None and self._writing.done():
            self.finish()

    def finish(self) -> None:
        """Wait for the save in the background. Raises OSError if it failed."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _commit(self, shards: Any, target: Path, progress: dict[str, Any], export: Callable[[Path], None]) -> None:
        """Wait for the shards of all ranks, write the other files, and rename the folder."""
        partial = target.with_suffix(".partial")
        try:
            shards.result()
            if not self.world.leads:
                return
            export(partial)
            (partial / "state.json").write_text(json.dumps(progress, indent=2) + "\n", encoding="utf8")
            (partial / "run.yaml").write_text(to_yaml(self.run), encoding="utf8")
            (partial / _SUMS).write_text(json.dumps(_checksums(partial), indent=2) + "\n", encoding="utf8")
            _synchronise(partial)
            partial.replace(target)
            _synchronise(self.folder)
            self._prune(target)
        except (OSError, SafetensorError, CheckpointException) as error:
            raise self._failed(target, error) from error

    def _prune(self, newest: Path) -> None:
        """Remove old checkpoints, except those to which files were added."""
        for old in step_folders(self.run.out)[: -self.run.keep_last]:
            if self.run.keep_every and int(old.name.removeprefix("step-")) % self.run.keep_every == 0:
                continue
            if not (more := added(old, newest)):
                shutil.rmtree(old)
            elif old not in self._reported:
                self._reported.add(old)
                log.warning("%s stays, because it holds %s: remove it when it is no longer needed", old, ", ".join(more))

    def _failed(self, target: Path, error: BaseException) -> OSError:
        kept = latest(self.run.out)
        return OSError(
            f"{target} could not be written: {_reason(error)}; {kept or 'no checkpoint'} is the last whole one: "
            "make room, and start the same command again"
        )


def training_tensors(model: nn.Module, optimizers: Sequence[Optimizer], average: EMA | None) -> dict[str, Tensor]:
    """Every tensor of the training state by name; these are not copies."""
    model.zero_grad()  # PyTorch creates the states of a new optimizer only where there are no gradients
    named = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    states: dict[str, Any] = get_optimizer_state_dict(model, list(optimizers), options=_FLAT)
    named |= {f"optimizer.{name}": value for name, value in states.items() if isinstance(value, Tensor)}
    return named | {f"average.{name}": value for name, value in (average.weights if average else {}).items()}


def restore(
    folder: Path, model: nn.Module, optimizers: Sequence[Optimizer], average: EMA | None, world: World
) -> dict[str, Any]:
    """Restore the training state, for any number of ranks that wrote it; returns the progress that was saved."""
    tensors = training_tensors(model, optimizers, average)
    try:
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder / "training")), no_dist=world.ranks == 1)
    except (OSError, RuntimeError, SafetensorError, CheckpointException) as error:
        raise _damaged(folder, _reason(error)) from error
    states: dict[str, Any] = get_optimizer_state_dict(model, list(optimizers), options=_FLAT)
    states |= {name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")}
    set_optimizer_state_dict(model, list(optimizers), optim_state_dict=states, options=_FLAT)
    return read_progress(folder)


def read_progress(folder: Path) -> dict[str, Any]:
    """The content of `state.json`: counts, positions in the data, versions."""
    try:
        progress: dict[str, Any] = checked(read_json(folder / "state.json"), dict[str, Any], "state.json")
    except (OSError, ValueError) as error:
        raise _damaged(folder, _reason(error)) from error
    return progress


def check_whole(folder: Path) -> None:
    """Raise ValueError if a checkpoint's files differ from what was written. Reads all of them."""
    if (what := _damage(folder)) is not None:
        raise _damaged(folder, what)


def _damaged(folder: Path, what: str) -> ValueError:
    """The error for a damaged checkpoint, which names the newest undamaged one."""
    older = [other for other in step_folders(folder.parents[1]) if other != folder]
    whole = next((other for other in reversed(older) if _damage(other) is None), None)
    rest = f"go on from {whole}, the newest whole one" if whole else "begin anew: no other is whole"
    return ValueError(f"{folder} is damaged ({what}): remove it to {rest}")


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None; checkpoints of older versions have no checksums."""
    try:
        written = json.loads((folder / _SUMS).read_text(encoding="utf8"))
        found = _checksums(folder)
    except FileNotFoundError:
        empty = [
            name
            for name in ("run.yaml", "state.json")
            if not (folder / name).is_file() or not (folder / name).stat().st_size
        ]
        return f"{empty[0]} is missing or empty" if empty else None
    except (OSError, ValueError) as error:
        return _reason(error)
    wrong = [name for name, checksum in written.items() if found.get(name) != checksum]
    return f"{wrong[0]} {'is not as it was written' if wrong[0] in found else 'is missing'}" if wrong else None


def _checksums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files of a checkpoint."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SUMS:
            with path.open("rb") as file:
                sums[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _reason(error: BaseException) -> str:
    """The message of an error in one line; of an error on several ranks, that of the first."""
    if isinstance(error, CheckpointException):
        error = next(cause for cause, _ in error.failures.values())
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def added(folder: Path, like: Path) -> list[str]:
    """Files in a folder that training did not write, such as evaluations; `like` is a folder as training writes it."""
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if not name.startswith(".") and not (like / name).exists())


def latest(out: str | Path) -> Path | None:
    """The newest checkpoint in a run's folder, or None."""
    folders = step_folders(out)
    return folders[-1] if folders else None


def read_run(folder: Path) -> Run:
    """The resolved run that a checkpoint was written by. Raises ValueError for one of an older version with other keys."""
    try:
        return load_recipe(folder / "run.yaml")
    except UnknownKeyError as error:
        raise ValueError(
            f"{error}; the run was written by another version of genlip and cannot be resumed: start a new run from its "
            f"weights with --init_from {folder} and a new --out"
        ) from error


def copy_for(checkpoint: Path, run: Run) -> Path:
    """Copy a checkpoint into the folder of another run, as one that this run has written. Complete or absent."""
    target = Path(run.out) / "checkpoints" / checkpoint.name
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    (partial / "run.yaml").write_text(to_yaml(run), encoding="utf8")
    (partial / _SUMS).write_text(json.dumps(_checksums(partial), indent=2) + "\n", encoding="utf8")
    _synchronise(partial)
    partial.replace(target)
    return target


def _synchronise(folder: Path) -> None:
    """Flush all files and names of a folder to the disk, before the folder is renamed."""
    for path in [*folder.rglob("*"), folder]:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
