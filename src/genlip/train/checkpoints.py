"""Training checkpoints: one folder per save, written under another name and renamed, so that it is whole or absent.

In: the training state. Out: `checkpoints/step-00001000/`, which holds the model's folder (loadable by `genlip.load`) and
what resuming needs besides: `optimizer.safetensors`, `state.json` and `run.yaml`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from genlip.data.captions import Captions
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.model import checkpoint
from genlip.model.genlip import GenLIP
from genlip.train.recipe import Run, load_recipe, to_yaml

__all__ = ["export_model", "latest", "read_run", "restore", "save"]


def save(
    run: Run, model: GenLIP, captions: Captions, optimizers: Sequence[Optimizer], step: int, progress: dict[str, Any]
) -> Path:
    """Write the checkpoint after `step` updates and remove all but the newest `run.keep`."""
    target = Path(run.out) / "checkpoints" / f"step-{step:08d}"
    if target.is_dir():  # a signal just after a save asks for the same again
        return target
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    export_model(partial, model, captions, run)
    save_file(_optimizer_tensors(model, optimizers), partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, **progress}, indent=2) + "\n", encoding="utf8")
    (partial / "run.yaml").write_text(to_yaml(run), encoding="utf8")
    partial.replace(target)
    for old in [*_folders(run.out)[: -run.keep], *target.parent.glob("*.partial")]:
        shutil.rmtree(old)
    return target


def export_model(folder: Path, model: GenLIP, captions: Captions, run: Run) -> None:
    """The folder that users load: weights, config, tokenizer and preprocessing."""
    checkpoint.save(model, folder)
    save_preprocessing(folder, Preprocessing(images=run.images, captions=run.captions), captions.tokenizer)


def latest(out: str | Path) -> Path | None:
    """The newest checkpoint of a run's folder, if it has one."""
    folders = _folders(out)
    return folders[-1] if folders else None


def read_run(folder: Path) -> Run:
    """The resolved run that wrote a checkpoint."""
    return load_recipe(folder / "run.yaml")


def restore(folder: Path, model: GenLIP, optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """Put weights and optimizers back; returns the progress that was saved, `step` included."""
    model.load_state_dict(checkpoint.load(folder).state_dict())
    tensors = load_file(folder / "optimizer.safetensors")
    parameters = dict(model.named_parameters())
    owner = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        parameter = parameters[name]
        owner[id(parameter)].state[parameter][kind] = value.to(parameter.device, copy=True)
    progress: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf8"))
    return progress


def _optimizer_tensors(model: GenLIP, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Every tensor of the optimizers' state as `kind/parameter`."""
    names = {id(p): name for name, p in model.named_parameters()}
    states = ((names[id(p)], state) for optimizer in optimizers for p, state in optimizer.state.items())
    return {f"{kind}/{name}": value.cpu() for name, state in states for kind, value in state.items()}


def _folders(out: str | Path) -> list[Path]:
    return sorted(p for p in (Path(out) / "checkpoints").glob("step-*") if p.is_dir() and not p.suffix)
