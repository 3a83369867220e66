"""Names of labels: class names from the user, or from the table of ADE20K -> names, and the label of the first.

In: names, as `genlip.data.datasets.class_names.class_list` takes them, or ADE20K's objectInfo150.txt. Out: `LabelNames`.
ADE20K numbers its classes from 1; 0 is no class. This applies if its table is in the folder, or is named by the user.
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
    """The names for the label maps in a folder: from `classes`, or from ADE20K's table in the folder.

    Raises ValueError if there is neither, and what `class_list` raises.
    """
    table = folder / ADE_TABLE
    found = _table_names(Path(classes) if classes else table)
    if found:
        return LabelNames(found, 1)
    if not classes:
        raise need_classes(str(folder))
    return LabelNames(class_list(classes), 1 if table.is_file() else 0)


def _table_names(file: Path) -> tuple[str, ...]:
    """The names from a table with a header like that of ADE20K; empty for any other file."""
    try:
        lines = read_text(expanded(file), _MAX_BYTES).splitlines()
    except (OSError, ValueError):  # for example a list of names
        return ()
    if not lines or not set(_COLUMNS) <= set(lines[0].split("\t")):
        return ()
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = tuple(words(row["Name"] or "") for row in rows)
    if [row["Idx"] for row in rows] != [str(number) for number in range(1, len(rows) + 1)] or "" in found:
        raise ValueError(f"{file}: column Idx must count from 1, row by row, and column Name hold a name in each")
    return found
