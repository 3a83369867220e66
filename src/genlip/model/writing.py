"""Writing: files that appear whole or not at all, and texts that nothing can keep from being written.

In: a path and what it is to hold. Out: the file, in one step: a kill or a full disk leaves what was there before.
Names of files may be bytes that are no UTF-8; Python holds them as lone surrogates, which UTF-8 cannot write. They are
escaped as JSON escapes them, so that JSON gives them back.
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
    """A temporary file, which replaces `path` at the end: readers see all of it or nothing, also of two writers.

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
    """What goes wrong with writing in the block is an OSError of one line that names the file, with the advice if any.

    Python tells a full disk without the name, and safetensors not as an OSError. An error
    that names another file passes, and one without a number, which is not the system's.
    """
    advice = f"; {advice}" if advice else ""
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough
        raise
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written: {error}{advice}") from error
    except OSError as error:
        named = str(path if error.filename is None else error.filename)
        if error.errno is None or not (named == str(path) or named.endswith(".part")):
            raise
        raise OSError(f"{path}: cannot be written: {error.strerror}{advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text in one step."""
    with write_whole(path) as part:
        part.write_text(escaped(text), encoding="utf8")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value as JSON in one step; without an indent, in one line."""
    write_text(path, to_json(value, indent) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON that UTF-8 can hold."""
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    r"""The text with lone surrogates as \udcXX, which JSON reads back."""
    return text.encode("utf8", "backslashreplace").decode("utf8")


def finite_or_none(value: float | None) -> float | None:
    """The number for JSON, which knows neither NaN nor infinity: None in their place."""
    return float(value) if value is not None and math.isfinite(value) else None
