"""Writing: files that appear whole or not at all, and texts that nothing can keep from being written.

In: a path and what it is to hold. Out: the file, in one step: a kill or a full disk leaves what was there before.
Names of files may be bytes that are no UTF-8; Python holds them as lone surrogates, which UTF-8 cannot write. They are
escaped as JSON escapes them, so that JSON gives them back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["escaped", "naming", "to_json", "write_json", "write_text", "write_whole"]


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """A temporary file, which replaces `path` at the end: readers see all of it or nothing, also of two writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with naming(path):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system inside get the file's name if they have none, as that of a full disk has."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename).endswith(".part")):
            error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text in one step. What is no regular file, such as /dev/stdout, is written as it is."""
    if path.exists() and not path.is_file():
        with naming(path):
            path.write_text(escaped(text), encoding="utf8")
        return
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
