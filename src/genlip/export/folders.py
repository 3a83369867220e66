"""Where an export reads and where it writes.

In: a model's folder or Hub id, and a folder to write. Out: both as paths. They must differ: an export has files of the same
names, and a model's own `config.json` is not to be lost. A folder to write may hold an older export, whose files would be
read as the new model's where it has none of that name: `clear` takes them away, known names alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from genlip.model.checkpoint import checkpoint_folder

__all__ = ["clear", "source_and_target"]

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


def clear(target: Path) -> None:
    """Remove the files of an older export, of whatever format, from a folder that need not exist.

    Only files of names that our exports write or a model is read from go, and none in folders inside it; all else stays. To
    be called when nothing can be refused any more: what was there should not be lost to a wrong argument.
    """
    for name in _OURS:
        if (target / name).is_file():
            (target / name).unlink()
