"""Where an export reads and where it writes.

In: a model's folder or Hub id, and a folder to write. Out: both as paths. They must differ: an export has files of the same
names, and a model's own `config.json` is not to be lost.
"""

from __future__ import annotations

import os
from pathlib import Path

from genlip.model.checkpoint import checkpoint_folder

__all__ = ["source_and_target"]


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
