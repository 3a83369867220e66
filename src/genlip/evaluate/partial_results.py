"""Partial results: what a long measurement has found so far, kept in a file so that a stopped one goes on.

In: entries, each with a number, as they are found. Out: the entries of an earlier attempt at the very same. The file is JSON
lines. Its first line says what is measured; a file about anything else (other settings, other weights) is overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genlip.model.fields import checked
from genlip.model.reading import parse_json
from genlip.model.writing import escaped, naming, to_json, write_text

__all__ = ["PartialResults"]


class PartialResults:
    """Entries found so far, by number.

    Attributes:
        entries: JSON-ready, as they were added.
    """

    def __init__(self, path: Path | None, purpose: Mapping[str, Any], entry: Any = dict[str, Any]) -> None:
        """Read the file if it was written for the same purpose (JSON-ready). Without a path nothing is stored on disk.

        entry  the type of an entry, as a hint that `checked` takes
        """
        self._path, first = path, escaped(json.dumps(purpose, sort_keys=True, ensure_ascii=False))
        self.entries: dict[int, Any] = {}
        if path is None:
            return
        self.entries = _entries(path, first, entry)
        kept = [first, *(_line(number, entry) for number, entry in self.entries.items())]
        write_text(path, "".join(f"{line}\n" for line in kept))

    def add(self, entries: Iterable[tuple[int, Any]]) -> None:
        """Keep entries, on disk too."""
        new = dict(entries)
        self.entries |= new
        if self._path is not None:
            with naming(self._path), self._path.open("a", encoding="utf8") as file:
                file.write("".join(f"{_line(number, entry)}\n" for number, entry in new.items()))

    def finish(self) -> None:
        """Remove the file, at the end of the measurement."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _entries(path: Path, first: str, kind: Any) -> dict[int, Any]:
    """The entries of a file that begins with this line, up to the first damaged line; none of any other file."""
    lines = path.read_text(encoding="utf8", errors="replace").split("\n") if path.is_file() else []
    entries: dict[int, Any] = {}
    for line in lines[1:-1] if lines[:1] == [first] else []:  # the last one is empty, or torn
        try:
            number, entry = parse_json(line, path.name)
            checked(number, int, "a number"), checked(entry, kind, "an entry")
        except (ValueError, TypeError):  # no JSON, no pair, or no entry
            break
        entries[number] = entry
    return entries


def _line(number: int, entry: Any) -> str:
    return to_json([number, entry])
