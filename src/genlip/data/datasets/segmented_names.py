"""Names of labels: what a user wrote for the classes of label maps, or what ADE20K brings along -> names and their start.

In: names, as `genlip.data.datasets.class_names.class_list` takes them, or ADE20K's objectInfo150.txt. Out: `LabelNames`.
ADE20K numbers its classes from 1, and 0 is whatever is none of them. That rule holds where its table is: among the files of
the folder, or named by the user.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from genlip.data.datasets.class_names import class_list, need_classes, words
from genlip.model.files import expanded
from genlip.model.reading import read_text

__all__ = ["ADE_TABLE", "LabelNames", "label_names"]

ADE_TABLE = "objectInfo150.txt"
_MAX_BYTES = 2**24
_COLUMNS = ("Idx", "Name")


class LabelNames(NamedTuple):
    """Names of classes in the order of labels, and the label of the first: 0, or 1 where 0 is no class."""

    names: tuple[str, ...]
    first: int


def label_names(classes: str, folder: Path) -> LabelNames:
    """Of the label maps in a folder, by `classes` or, if that is empty, by ADE20K's table in the folder.

    Raises ValueError where there is neither, and what `class_list` raises.
    """
    table = folder / ADE_TABLE
    found = _table_names(Path(classes) if classes else table)
    if found:
        return LabelNames(found, 1)
    if not classes:
        raise need_classes(str(folder))
    return LabelNames(class_list(classes), 1 if table.is_file() else 0)


def _table_names(file: Path) -> tuple[str, ...]:
    """The names of a table with a header, as ADE20K's; empty where it is none."""
    try:
        lines = read_text(expanded(file), _MAX_BYTES).splitlines()
    except (OSError, ValueError):  # a list of names, say
        return ()
    if not lines or not set(_COLUMNS) <= set(lines[0].split("\t")):
        return ()
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = tuple(words(row["Name"] or "") for row in rows)
    if [row["Idx"] for row in rows] != [str(number) for number in range(1, len(rows) + 1)] or "" in found:
        raise ValueError(f"{file}: column Idx must count from 1, row by row, and column Name hold a name in each")
    return found
