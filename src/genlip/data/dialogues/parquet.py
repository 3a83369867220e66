"""Parquet: a source of dialogues in tables with any number of images in a row, as on the Hugging Face Hub.

In: Parquet files, local or remote. Out: the `DialogueSource` of their rows, file after file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from genlip.data.dialogues.arranging import arranged
from genlip.data.dialogues.dialogue import Dialogue
from genlip.data.dialogues.fields import DialogueFields
from genlip.data.examples import Unusable, short_repr
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.parquet_columns import described, holds_text
from genlip.data.sources.parquet_rows import ParquetRows

__all__ = ["ParquetDialogues"]


@dataclass(frozen=True, eq=False, repr=False)
class ParquetDialogues:
    """Rows of Parquet files.

    Attributes:
        rows: the images and the columns of conversations and captions.
        fields: of these columns.
    """

    rows: ParquetRows
    fields: DialogueFields

    @classmethod
    def open(
        cls, paths: Sequence[str], fields: DialogueFields, name: str, cache: ShardCache | None = None
    ) -> ParquetDialogues:
        """The rows of files that all have the same columns; see `ParquetRows.open`. They need no images."""
        chosen = dict[str, DialogueFields]()

        def columns(path: str, schema: pa.Schema, image: str) -> tuple[str, ...]:
            texts = [field.name for field in schema if field.name != image and holds_text(field.type)]
            chosen[path] = fields.among(texts, f"{path} with columns {described(schema)}")
            return tuple(name for name in chosen[path].names if name in texts)

        rows = ParquetRows.open(paths, columns, name, cache, image_needed=False)
        return cls(rows, chosen[paths[0]])

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.rows.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Dialogue:
        key, record = self.rows.key(index), self.rows.record(index)
        try:
            talk = self.fields.read(record, int(index))
        except Unusable as error:  # without the key
            raise Unusable(error.reason, f"{key}: {error}") from None
        return arranged(key, self.rows.images(index), talk)
