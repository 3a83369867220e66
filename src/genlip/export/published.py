"""The published layout: `config.json` and `model.safetensors` under the names of the released checkpoints.

In: a model's folder, or an id on the Hub. Out: a folder. This is also genlip's own layout, so a round trip changes nothing.
The output has one safetensors file, even if the source has several weight files or a `pytorch_model.bin`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from genlip.export.folders import replaced, source_and_target
from genlip.model.checkpoint import load, save

__all__ = ["export_published"]


def export_published(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, dtype: torch.dtype | None = None
) -> Path:
    """Write a folder in the published layout, with tokenizer and preprocessing settings if the source has them.

    Files of an older export in `out` are removed, see `genlip.export.folders.replaced`.
    """
    source, target = source_and_target(model, out)
    loaded = load(source, dtype=dtype)
    names = [name for name in ("tokenizer.json", "preprocessing.json") if (source / name).is_file()]
    with replaced(target) as workplace:
        save(loaded, workplace)
        for name in names:
            shutil.copyfile(source / name, workplace / name)
    return target
