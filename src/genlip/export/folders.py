"""Where an export reads and where it writes.

In: a model's folder or Hub id, and a folder to write. Out: both as paths. They must differ: an export has files of the same
names, and a model's own `config.json` is not to be lost. A folder to write may hold an older export, whose files would be
read as the new model's where it has none of that name: they are taken away, known names alone.

An export is written beside what is there, and then takes its place: `config.json`, without which nothing reads a folder,
goes first and comes last. Whatever stops it leaves the old export, the new one, or a folder that is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genlip.model.checkpoint import checkpoint_folder
from genlip.model.writing import naming

__all__ = ["clear", "replaced", "source_and_target"]

_MARKER, _WORKPLACE = "config.json", ".export.partial"

# What our exports write, and the other names under which genlip, Transformers and timm would look for the same things.
_OURS = (
    "config.json", "generation_config.json", "preprocessing.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json",
    "configuration_genlip.py", "modeling_genlip.py", "image_processing_genlip.py", "processing_genlip.py",
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    "encoder.onnx", "prefill.onnx", "step.onnx", "weights.bin",
)  # fmt: skip


def source_and_target(model: str | os.PathLike[str], out: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The local folder of a model, fetched if it is on the Hub, and the folder to write, which need not exist yet.

    Raises `CheckpointError` where there is no model, and ValueError where both are one folder or `out` is a file.
    """
    source, target = checkpoint_folder(model), Path(out)
    if target.resolve() == source.resolve():
        raise ValueError(f"{target}: is the model's own folder; name another one to export to")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is a file; name a folder to export to")
    return source, target


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A folder to write an export to, whose files then take the place of an older export in `target`.

    Only files of names that our exports write or a model is read from go, and none in folders inside it; all else stays.
    What fails inside leaves what was there.
    """
    workplace, new = target / _WORKPLACE, not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        shutil.rmtree(workplace, ignore_errors=True)  # of an export that was killed
        with naming(target):
            workplace.mkdir()
            yield workplace
        _move(workplace, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        if new and not any(target.iterdir()):
            target.rmdir()


def clear(target: Path) -> None:
    """Remove the files of an older export, of whatever format, from a folder that need not exist; `config.json` first."""
    for name in _OURS:
        if (target / name).is_file():
            (target / name).unlink()


def _move(workplace: Path, target: Path) -> None:
    clear(target)
    for file in sorted(workplace.iterdir(), key=lambda file: (file.name == _MARKER, file.name)):
        file.replace(target / file.name)
