"""Paths: a pattern for many files -> the files, local or remote.

In: a path, a glob `shards/*.tar`, a brace range `{00000..00127}.tar` or a URL of any fsspec file system. Out: a list of
    local paths and URLs. Globs are sorted; braces keep their order, since the numbers of samples depend on it. The existence
    of a remote file without a glob is not checked here: ten thousand shards would need ten thousand requests.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec

from genlip.data.file_search import files_of
from genlip.model.files import expanded

__all__ = ["expand", "file_system", "is_remote"]

MAX_MEMBERS = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_LOCAL = ("file", "local")
# Packages of protocols; fsspec's own messages name no command.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "http": "aiohttp requests",
    "https": "aiohttp requests", "hf": "huggingface_hub", "oss": "ossfs", "sftp": "paramiko", "ssh": "paramiko",
}  # fmt: skip


class MissingPackage(ImportError, ValueError):
    """The package of a protocol is not installed. Also a ValueError, because the user's input needs it."""


def expand(spec: str) -> list[str]:
    """The files of a specification, each once.

    Raises FileNotFoundError for a missing local file or a glob without files. Raises ValueError for an unknown protocol, too
    many files, or something that is not a file, such as a named pipe. Raises ImportError with the install command if the
    package of a protocol is missing.
    """
    if not is_remote(spec) and Path(_local(spec)).exists():  # even if its name contains pattern signs
        return files_of(_local(spec))
    found = dict.fromkeys(path for pattern in _without_braces(spec) for path in _files(pattern, spec))
    return list(found)


def is_remote(path: str) -> bool:
    """Whether a path is a URL of anything but the local file system."""
    return _protocol(path) not in ("", *_LOCAL)


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. Raises ImportError that says which package to install."""
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        protocol = _protocol(url)
        package = _PACKAGES.get(protocol)
        hint = f"`pip install {package}`" if package else str(error)
        raise MissingPackage(f"{url}: reading {protocol}:// needs another package: {hint}") from error
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None
    return system, path


def _protocol(path: str) -> str:
    return path.partition("://")[0].lower() if "://" in path else ""


def _local(path: str) -> str:
    """A plain local path from `file:///a/b` or `~/b`."""
    if _protocol(path) in _LOCAL:
        return str(file_system(path)[1])
    return str(expanded(path)) if path.startswith("~") else path


def _without_braces(spec: str) -> Iterator[str]:
    """All combinations of members, the last brace varies fastest: a{1..2}{x,y} -> a1x a1y a2x a2y."""
    pieces = _BRACES.split(spec)  # text, inside of a brace, text, …
    members = [_members(piece) if place % 2 else [piece] for place, piece in enumerate(pieces)]
    count = math.prod(len(choices) for choices in members)
    if count > MAX_MEMBERS:
        raise ValueError(f"{spec}: stands for {count:,} files; the limit is {MAX_MEMBERS:,}")
    return map("".join, itertools.product(*members))


def _members(inside: str) -> Sequence[str]:
    """The members of a brace; if it is neither a range nor a list, it is part of the name."""
    if not (found := _RANGE.fullmatch(inside)):
        return inside.split(",") if "," in inside else [f"{{{inside}}}"]
    first, last = found.groups()
    if max(len(first), len(last)) > 18:
        raise ValueError(f"{{{inside}}}: a range of numbers this long cannot be meant")
    padded = any(len(end) > 1 and end[0] == "0" for end in (first, last))  # as in shells
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    numbers = range(int(first), int(last) + step, step)
    if len(numbers) > MAX_MEMBERS:
        raise ValueError(f"{{{inside}}}: stands for {len(numbers):,} files; the limit is {MAX_MEMBERS:,}")
    return [f"{number:0{width}}" for number in numbers]


def _files(pattern: str, spec: str) -> list[str]:
    """The files of a path or a glob without braces."""
    remote = is_remote(pattern)
    if not remote:
        found = files_of(_local(pattern))
    elif _is_glob(pattern):
        system, path = file_system(pattern)
        try:
            listed = system.glob(path, detail=True)
        except Exception as error:  # each client library raises classes of its own
            raise OSError(f"{pattern}: cannot be listed: {' '.join(repr(error).split())}") from error
        found = sorted(system.unstrip_protocol(name) for name, info in listed.items() if info.get("type") != "directory")
    else:
        found = [pattern]
    if not found:
        of = "" if pattern == spec else f" (of {spec})"
        raise FileNotFoundError(f"{pattern}{of}: {'matches no file' if _is_glob(pattern) else 'no such file'}")
    return found


def _is_glob(pattern: str) -> bool:
    # In a web address, a question mark begins the query.
    return any(sign in pattern for sign in ("*[" if _protocol(pattern) in ("http", "https") else "*?["))
