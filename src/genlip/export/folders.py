"""The folder that an export reads, and the folder that it writes.

In: a model's folder or Hub id, and a folder to write. Out: both as paths. They must differ, since an export writes files of
the same names and would overwrite the model's own `config.json`. The output folder may hold an older export. Its files, if
left, could be read as part of the new model, so files with known names are removed.

An export is first written to a temporary folder, and then replaces the old files. `config.json`, which every reader needs,
is removed first and moved last. An interruption therefore leaves the old export, the new one, or a folder that cannot be
loaded.
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

# Files that our exports write, and other names under which genlip, Transformers and timm look for the same contents.
_OURS = (
    "config.json", "generation_config.json", "preprocessing.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json",
    "configuration_genlip.py", "modeling_genlip.py", "image_processing_genlip.py", "processing_genlip.py",
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    "encoder.onnx", "prefill.onnx", "step.onnx", "weights.bin",
)  # fmt: skip


def source_and_target(model: str | os.PathLike[str], out: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The local folder of a model, downloaded if it is on the Hub, and the folder to write, which need not exist yet.

    Raises `CheckpointError` if there is no model, and ValueError if both are the same folder or `out` is a file.
    """
    source, target = checkpoint_folder(model), Path(out)
    if target.resolve() == source.resolve():
        raise ValueError(f"{target}: is the model's own folder; name another one to export to")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is a file; name a folder to export to")
    return source, target


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Yields a temporary folder for an export, whose files then replace an older export in `target`.

    Only files with names that our exports write or a model is read from are removed; other files and all subfolders stay.
    An error inside the `with` block leaves `target` as it was.
    """
    workplace, new = target / _WORKPLACE, not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        shutil.rmtree(workplace, ignore_errors=True)  # left by an export that was killed
        with naming(target):
            workplace.mkdir()
            yield workplace
        _move(workplace, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        if new and not any(target.iterdir()):
            target.rmdir()


def clear(target: Path) -> None:
    """Remove the files of an older export of any format, `config.json` first. The folder need not exist."""
    for name in _OURS:
        if (target / name).is_file():
            (target / name).unlink()


def _move(workplace: Path, target: Path) -> None:
    clear(target)
    for file in sorted(workplace.iterdir(), key=lambda file: (file.name == _MARKER, file.name)):
        file.replace(target / file.name)
