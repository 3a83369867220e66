"""Labelled Parquet: rows with an image and the number of its class, as in classification sets on the Hugging Face Hub.

In: Parquet files, local or remote. Out: a labelled set. Class names come from the schema of the
first file, where the Hub writes them, unless the user gives others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from genlip.data.datasets.base import Labelled
from genlip.data.datasets.class_names import check_label, class_list, keyed_classes, need_classes
from genlip.data.examples import short_repr
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.parquet_columns import described
from genlip.data.sources.parquet_rows import ParquetRows
from genlip.model.reading import parse_json

__all__ = ["LabelledParquet", "open_labelled_parquet"]

# Preferred names if several columns could hold the label.
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "cls", "target", "y")


@dataclass(frozen=True, eq=False, repr=False)
class LabelledParquet:
    """Rows of Parquet files with an image of a class; see `open_labelled_parquet`.

    Attributes:
        rows: the images and the label column.
        classes: in words.
    """

    rows: ParquetRows
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the user named it."""
        return self.rows.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Labelled:
        label = self.label(index)  # first: an invalid label stops the run, even if the image is damaged
        return Labelled(self.rows.key(index), self.rows.image(index), label)

    def label(self, index: int) -> int:
        """The label alone, without reading the image. Raises ValueError for one that is not a class."""
        (column,) = self.rows.others
        return check_label(self.rows.record(index)[column], self.classes, f"{self.rows.key(index)}, column {column!r}")


def open_labelled_parquet(
    paths: Sequence[str], name: str, classes: str = "", cache: ShardCache | None = None
) -> LabelledParquet:
    """The rows of files that all have the same image and label columns.

    classes  see `class_list`; with names in the schema, also a file that replaces each of them
    cache    of remote files; default: that of the user

    The label is a column of whole numbers: one with a usual name, else the one that the schema has names for, else the only
    one. Labels are checked when they are read. Raises what `ParquetRows.open` raises, and ValueError where there is no such
    column or no names.
    """
    rows = ParquetRows.open(paths, _label_column, name, cache)
    stored = _stored_names(rows.schema).get(rows.others[0], [])
    if not stored and not classes:
        raise need_classes(f"{name}, column {rows.others[0]!r}")
    names = keyed_classes(classes, stored, f"classes of {name}") if stored else class_list(classes)
    return LabelledParquet(rows, names)


def _label_column(path: str, schema: pa.Schema, _image: str) -> tuple[str, ...]:
    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    usual = [name for name in LABEL_COLUMNS if name in whole]
    named = [name for name in whole if name in _stored_names(schema)]
    chosen = usual[:1] or (named if len(named) == 1 else whole)
    if len(chosen) != 1:
        what = "several columns of whole numbers" if whole else "no column of whole numbers"
        raise ValueError(f"{path}: {what} among {described(schema)}; need one, or one named {' or '.join(LABEL_COLUMNS)}")
    return (chosen[0],)


def _stored_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of each column that has some, as the Hub's `datasets` writes them into a schema."""
    try:
        stored = parse_json((schema.metadata or {})[b"huggingface"].decode("utf8"), "huggingface")
        features: dict[str, Any] = stored["info"]["features"]
        return {
            column: list(feature["names"]) for column, feature in features.items() if feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
