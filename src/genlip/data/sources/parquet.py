"""Parquet tables: a source of rows with an image and its captions, as on the Hugging Face Hub.

In: Parquet files, local or remote. Out: the `Source` of their rows, file after file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from genlip.data.examples import Caption, Example, Unusable, short_repr
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.parquet_columns import described, holds_text
from genlip.data.sources.parquet_rows import ParquetRows

__all__ = ["ParquetTables"]


@dataclass(frozen=True, eq=False, repr=False)
class ParquetTables:
    """Rows of Parquet files.

    Attributes:
        rows: the images and the caption columns.
        fields: the probability of each of these columns.
    """

    rows: ParquetRows
    fields: CaptionFields

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        fields: CaptionFields,
        name: str,
        cache: ShardCache | None = None,
        image_column: str | None = None,
    ) -> ParquetTables:
        """The rows of files that all have the same image and caption columns; see `ParquetRows.open`.

        fields  columns that hold captions: text, lists of texts or conversations
        """

        def captions(path: str, schema: pa.Schema, image: str) -> tuple[str, ...]:
            texts = [field.name for field in schema if field.name != image and holds_text(field.type)]
            chances = fields.among(texts, f"{path} with columns {described(schema)}").chances
            return tuple(name for name in chances if name in texts)

        rows = ParquetRows.open(paths, captions, name, cache, image_column)
        return cls(rows, fields if fields.chances else CaptionFields({rows.others[0]: 1.0}))

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.rows.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return Example(self.rows.key(index), self.rows.image(index), self.caption(index))

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        record = self.rows.record(index)
        try:
            return self.fields.read(record)
        except Unusable as error:  # without the key of the example
            raise Unusable(error.reason, f"{self.rows.key(index)}: {error}") from None
