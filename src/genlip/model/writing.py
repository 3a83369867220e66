"""Writing: files written atomically, and texts that UTF-8 can always encode.

In: a path and its content. Out: the file, replaced in one step: after a kill or a full disk, the old content is still there.
File names may hold bytes that are not UTF-8. Python represents them as lone surrogates, which UTF-8 cannot encode. They are
escaped as in JSON, so that reading JSON restores them.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

__all__ = ["escaped", "finite_or_none", "naming", "to_json", "write_json", "write_text", "write_whole"]


@contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that replaces `path` at the end. Readers see the whole file or none of it, also with two writers.

    A device or a pipe is written to directly, and the target of a link is replaced, not the link.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        with naming(path):
            yield target
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        with naming(path):
            yield part
            part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def naming(path: str | os.PathLike[str], advice: str = "") -> Iterator[None]:
    """Turn write errors in the block into a one-line OSError that names the file, with the advice if any.

    Python reports a full disk without the file name, and safetensors raises no OSError. Errors that name another file, or
    have no error number, are not changed.
    """
    advice = f"; {advice}" if advice else ""
    try:
        yield
    except BrokenPipeError:  # the reader has closed the pipe
        raise
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written: {error}{advice}") from error
    except OSError as error:
        named = str(path if error.filename is None else error.filename)
        if error.errno is None or not (named == str(path) or named.endswith(".part")):
            raise
        raise OSError(f"{path}: cannot be written: {error.strerror}{advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text atomically."""
    with write_whole(path) as part:
        part.write_text(escaped(text), encoding="utf8")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value as JSON atomically; without an indent, on one line."""
    write_text(path, to_json(value, indent) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON that UTF-8 can encode."""
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    r"""The text with lone surrogates as \udcXX, which JSON reads back."""
    return text.encode("utf8", "backslashreplace").decode("utf8")


def finite_or_none(value: float | None) -> float | None:
    """The number for JSON; None for NaN and infinity, which JSON does not have."""
    return float(value) if value is not None and math.isfinite(value) else None
