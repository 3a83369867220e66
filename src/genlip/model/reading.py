"""Reading: JSON and YAML from any source, within limits.

In: a file, or a text with the name that messages give it. Out: plain values. All JSON and YAML is read here, so one
place limits size and depth. Duplicate keys are refused: one of the two values would be lost silently. YAML aliases are
refused too: a few lines of them can stand for billions of values.

Types of values are checked by `genlip.model.fields`; NaN, for example, is valid JSON for Python.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from genlip.model.file_kinds import LFS_POINTER, but_is, is_lfs_pointer
from genlip.model.files import check_regular, printable

__all__ = ["MAX_TEXT_BYTES", "each_of_json_list", "parse_json", "parse_yaml", "read_json", "read_text", "read_yaml"]

MAX_TEXT_BYTES = 2**31  # limit for tables, lists and other texts that are read completely
_DEPTH = 100  # lists and objects inside each other
_JSON_BYTES, _YAML_BYTES = 2**28, 2**20  # YAML takes seconds per MiB
# What PyYAML raises for values that do not fit their tag, such as `!!int x` or 40 May.
_NO_VALUE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class _Refused(ValueError):
    """Valid JSON or YAML that is refused."""


def read_json(path: str | os.PathLike[str], most: int = _JSON_BYTES) -> Any:
    """The content of a JSON file. Raises ValueError that names the file, and OSError where it cannot be opened."""
    return parse_json(read_text(path, most), os.fspath(path))


def parse_json(text: str, name: str = "") -> Any:
    """The content of a JSON text. Raises ValueError that begins with the name."""
    name = f"{name}: " if name else ""
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if text.count("[") + text.count("{") > _DEPTH:
            _check_depth(value)
    except _Refused as error:
        raise ValueError(f"{name}{error}") from None
    except RecursionError:
        raise ValueError(f"{name}{_TOO_DEEP}") from None
    except ValueError as error:
        raise ValueError(f"{name}not JSON: {error}") from None
    return value


def each_of_json_list(text: str, name: str, need: str = "a list") -> Iterator[Any]:
    """The entries of a JSON text that is a list, one after another: only one of them is in memory.

    Raises ValueError that begins with the name: for another value that `need` is needed, for a damaged text where it is
    damaged.
    """
    if not text.startswith("[", _skip_space(text, 0)):
        parse_json(text, name)
        raise ValueError(f"{name}: need {need}")
    place = _skip_space(text, text.index("[") + 1)
    more = not text.startswith("]", place)
    while more:
        value, place = _entry_at(text, place, name)
        yield value
        more = text.startswith(",", place)
        place = _skip_space(text, place + 1) if more else place
    wrong = "" if text.startswith("]", place) else "Expecting ',' delimiter"
    place = place if wrong else _skip_space(text, place + 1)
    if wrong or place < len(text):
        raise ValueError(f"{name}: not JSON: {json.JSONDecodeError(wrong or 'Extra data', text, place)}")


def _entry_at(text: str, place: int, name: str) -> tuple[Any, int]:
    """The entry of a JSON list that begins at a place, and the place behind it and its space."""
    try:
        value, end = _DECODER.raw_decode(text, place)
        if text.count("[", place, end) + text.count("{", place, end) >= _DEPTH:
            _check_depth([value])
    except _Refused as error:
        raise ValueError(f"{name}: {error}") from None
    except RecursionError:
        raise ValueError(f"{name}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise ValueError(f"{name}: not JSON: {error}") from None
    return value, _skip_space(text, end)


def _skip_space(text: str, place: int) -> int:
    """The place of the next character that is no space."""
    found = _NO_SPACE.search(text, place)
    return found.start() if found else len(text)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The content of a YAML file. Raises ValueError that names the file, and OSError where it cannot be opened."""
    return parse_yaml(read_text(path, _YAML_BYTES), os.fspath(path))


def parse_yaml(text: str, name: str) -> Any:
    """The content of a YAML text. Raises ValueError that begins with the name."""
    try:
        return yaml.load(text, _Loader)  # a subclass of the safe loader
    except _Refused as error:
        raise ValueError(f"{name}{error}") from None
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ValueError(f"{name}: not YAML: {' '.join(str(error).split())}") from None


def read_text(path: str | os.PathLike[str], most: int = MAX_TEXT_BYTES) -> str:
    """The text of a UTF-8 file, with or without a byte order mark. Line ends become newlines.

    Raises FileNotFoundError if it does not exist. Raises ValueError with its name if it is not a regular file, has more than
    `most` bytes, is a Git LFS pointer, or is not UTF-8.
    """
    name = printable(os.fspath(path))
    check_regular(path)
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)
    if max(size, len(data)) > most:
        raise ValueError(f"{name}: holds more than {most:,} bytes, the limit for such a file")
    if is_lfs_pointer(data):
        raise ValueError(f"{name}: {LFS_POINTER}")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")  # as Python's text files do it
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 text: {error}{but_is(data, '')}") from None


_SPACE = " \t\r\n"
_NO_SPACE = re.compile(f"[^{_SPACE}]")
_TOO_DEEP = f"lists and objects are nested deeper than {_DEPTH}"


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Refused(f"the key {next(key for key in found if keys.count(key) > 1)!r} stands twice in an object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEPTH):
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [x for x in chain.from_iterable(inner) if isinstance(x, (dict, list))]
        if not level:
            return
    raise _Refused(_TOO_DEEP)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, deep nesting and duplicate keys."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise _Refused(f", line {_line(event)}: *{event.anchor} is an alias: write out what it stands for")
        self._depth += 1
        if self._depth > _DEPTH + 1:
            raise _Refused(f", line {_line(self.peek_event())}: {_TOO_DEEP}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key = self.construct_object(key_node)
                if key in lines:
                    raise _Refused(f": the key {key!r} stands twice, in line {lines[key]} and in line {_line(key_node)}")
                lines[key] = _line(key_node)
        return super().construct_mapping(node, deep)


def _line(where: Any) -> int:
    return int(where.start_mark.line) + 1
