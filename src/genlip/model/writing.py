"""Writing: files that appear whole or not at all, and errors that name the file.

In: where a file is to lie. Out: where to write it, or nothing but the error. A full disk is told by Python without the name
of the file, and by safetensors not as an OSError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

__all__ = ["naming", "whole_file"]


@contextmanager
def naming(file: str | os.PathLike[str]) -> Iterator[None]:
    """What goes wrong with writing in the block is an OSError of one line that names the file."""
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough
        raise
    except (OSError, SafetensorError) as error:
        raise OSError(f"{file}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def whole_file(file: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside the file to write to; it takes the file's place at the end of the block, or is removed.

    A device or a pipe is written to directly, and the target of a link is replaced, not the link.
    """
    target = Path(file).resolve()
    if target.exists() and not target.is_file():
        with naming(file):
            yield target
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        with naming(file):
            yield partial
            partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
