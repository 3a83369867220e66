"""Question sources: sets of questions in tables, in Parquet files, and about procedural images.

In: opened files, or the name of a procedural kind. Out: `QuestionSource`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from genlip.data.dialogues.question import Question, question_form
from genlip.data.dialogues.question_fields import KNOWN_FIELDS, QuestionFields
from genlip.data.examples import ImageLike, Unusable, short_repr
from genlip.data.sources.conversations import IMAGE_MARK
from genlip.data.sources.parquet_columns import described
from genlip.data.sources.parquet_rows import ParquetRows
from genlip.data.sources.procedural import KINDS, Kind
from genlip.data.sources.tables import PATH_COLUMNS, READERS, Row, check_inside, filled_path_column, image_path
from genlip.model.files import printable
from genlip.model.reading import MAX_TEXT_BYTES, read_json

__all__ = ["ProceduralQuestions", "QuestionParquet", "QuestionTable"]

_FIRST = 1000  # rows of Parquet files that are read at once, to see how answers are written
_TRIES = 100  # images among which one with a question is looked for


@dataclass(frozen=True, repr=False)
class QuestionTable:
    """Rows of a JSON, JSONL, CSV or TSV table, each with a question and the paths of its images.

    Attributes:
        name: in messages and results.
        rows: of all files.
        keys: of each row: its id, or its file and number.
        folders: of each row, where its images are.
        fields: of its question.
        image: the first column of paths in the table, which the error of a row without any names.
    """

    name: str
    rows: Sequence[Row]
    keys: Sequence[str]
    folders: Sequence[Path]
    fields: QuestionFields
    image: str

    @classmethod
    def open(
        cls, files: Sequence[str], name: str, image_folder: str | Path | None = None, allow_outside: bool = False
    ) -> QuestionTable:
        """The rows of files; paths of images are relative to the file, or to `image_folder`.

        allow_outside  also read images outside of that folder

        Raises ValueError for a file that is no table of questions, one without any answer, and an image outside.
        """
        tables = [(Path(file), _rows(Path(file))) for file in files]
        rows = [row for _, some in tables for row in some]
        if not rows:
            raise ValueError(f"{name}: holds no rows")
        columns = list(dict.fromkeys(column for row in rows for column in row))
        if (image := next((column for column in PATH_COLUMNS if column in columns), None)) is None:
            raise ValueError(
                f"{name}: no image among {', '.join(columns) or 'no columns'}; need one of {', '.join(PATH_COLUMNS)}"
            )
        fields = QuestionFields.among(columns, name).with_form(rows, name)
        folders = [Path(image_folder) if image_folder else file.parent for file, some in tables for _ in some]
        keys = [f"{printable(file.name)}:{number}" for file, some in tables for number in range(1, len(some) + 1)]
        ids = [fields.key(row) for row in rows]
        _check_answered(name, [_reason(fields, row) for row in rows], fields)
        table = cls(printable(name), rows, ids if all(ids) and len({*ids}) == len(ids) else keys, folders, fields, image)
        if not allow_outside:
            table._check_inside()
        return table

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Question:
        question = self.text(index)
        try:
            images = tuple(str(self.folders[index] / path) for path in self._paths(index))
        except Unusable as error:
            raise Unusable(error.reason, f"{question.key}: {error}") from None
        return _with_images(question, images)

    def text(self, index: int) -> Question:
        """The question without its images."""
        return self.fields.read(self.rows[index], self.keys[index])

    def _paths(self, index: int) -> list[str]:
        row = self.rows[index]
        column = filled_path_column(row) or self.image
        entry = row.get(column)
        return [image_path(one, column) for one in (entry if isinstance(entry, list) and entry else [entry])]

    def _check_inside(self) -> None:
        for index, (key, folder) in enumerate(zip(self.keys, self.folders, strict=True)):
            try:
                paths = self._paths(index)
            except Unusable:  # told when the question is read
                continue
            for path in paths:
                check_inside(folder, path, f"{self.name}, {key}")


@dataclass(frozen=True, eq=False, repr=False)
class QuestionParquet:
    """Rows of Parquet files with an image and a question, as benchmarks are on the Hub.

    Attributes:
        rows: the images and the columns of the questions.
        fields: of the question.
    """

    rows: ParquetRows
    fields: QuestionFields

    @classmethod
    def open(cls, paths: Sequence[str], name: str) -> QuestionParquet:
        """The rows of files with the same columns. Raises what `ParquetRows.open` raises, and ValueError without the columns
        of a question and an answer, or without any answer among the first rows."""

        def columns(path: str, schema: pa.Schema, image: str) -> tuple[str, ...]:
            names = [column for column in schema.names if column in KNOWN_FIELDS and column != image]
            QuestionFields.among(names, f"{path} with columns {described(schema)}")
            return tuple(names)

        rows = ParquetRows.open(paths, columns, name)
        first = [record for index in range(min(_FIRST, len(rows))) if (record := _record(rows, index))]
        fields = QuestionFields.among(rows.others, name).with_form(first, name)
        _check_answered(name, [_reason(fields, record) for record in first], fields)
        return cls(rows, fields)

    @property
    def name(self) -> str:
        """Its name in messages and results."""
        return self.rows.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Question:
        return _with_images(self.text(index), (self.rows.image(index),))

    def text(self, index: int) -> Question:
        """The question without its image."""
        return self.fields.read(self.rows.record(index), self.rows.key(index))


@dataclass(frozen=True, repr=False)
class ProceduralQuestions:
    """A question about each of a kind's procedural images, one of those that the image answers.

    Question i is a pure function of (kind, seed, i). It is about image i, or if that has no question, about the first one
    that has among those `length`, twice `length`, … further on.

    Attributes:
        kind: one of `procedural.KINDS` that has questions.
        seed: of the images and of the choice.
        length: number of questions.
    """

    kind: str
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        asked = [name for name, kind in KINDS.items() if kind.questions]
        if self.kind not in asked or self.seed < 0:
            raise ValueError(f"{self.name}: need one of {', '.join(asked)}, whose images have questions, and a seed from 0")

    @property
    def name(self) -> str:
        """As `open_questions` takes it."""
        return f"{self.kind}:{self.seed}"

    __repr__ = short_repr

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Question:
        number, content = self._content(index)
        return _with_images(self._chosen(number, content), (self._made.draw(content),))

    def text(self, index: int) -> Question:
        """The question without its image."""
        return self._chosen(*self._content(index))

    @property
    def _made(self) -> Kind:
        return KINDS[self.kind]

    def _questions(self, content: Any) -> tuple[tuple[str, str], ...]:
        assert self._made.questions is not None
        return self._made.questions(content)

    def _content(self, index: int) -> tuple[int, Any]:
        """The number of the image, and its content."""
        if not 0 <= index < self.length:
            raise IndexError(f"{self.name}: question {index} of {self.length}")
        for number in range(index, _TRIES * self.length, self.length):
            if self._questions(content := self._made.content(self.seed, number)):
                return number, content
        raise Unusable("no question", f"{self.name}:{index}: no image with a question")

    def _chosen(self, number: int, content: Any) -> Question:
        several = self._questions(content)
        # The stream of a bit generator is fixed across NumPy versions; the methods of a Generator are not.
        question, answer = several[int(np.random.PCG64((self.seed, number)).random_raw()) % len(several)]
        return Question(f"{self.name}:{number}", (), question, (answer,), type=question_form(question))


def _rows(file: Path) -> list[Row]:
    """The rows of a table; a JSON file may hold them under "data", as DocVQA's does."""
    if file.suffix.lower() != ".json":
        return list(READERS[file.suffix.lower()](file))
    stored = read_json(file, MAX_TEXT_BYTES)
    rows = stored.get("data") if isinstance(stored, dict) else stored
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f'{file}: need a list of objects with image, question and answer, or such a list under "data"')
    return rows


def _record(rows: ParquetRows, index: int) -> dict[str, Any] | None:
    try:
        return rows.record(index)
    except Unusable:  # told when the question is read
        return None


def _with_images(question: Question, images: tuple[ImageLike, ...]) -> Question:
    """The question with its images. Raises `Unusable` if its text has marks for another number of them."""
    if (marks := question.question.count(IMAGE_MARK)) not in (0, len(images)):
        raise Unusable("image marks", f"{question.key}: {marks} marks {IMAGE_MARK!r} for {len(images)} images")
    return replace(question, images=images)


def _check_answered(name: str, reasons: Sequence[str], fields: QuestionFields) -> None:
    """Refuse a set of which no question has an answer; `reasons` say of each why it cannot be used, if so."""
    if reasons and {*reasons} == {"no answer"}:
        raise ValueError(
            f"{name}: none of {len(reasons):,} questions has an answer in {' or '.join(fields.answers)}; need a split whose "
            "answers are published"
        )


def _reason(fields: QuestionFields, record: Row) -> str:
    """Why a record cannot be used; empty if it can."""
    try:
        fields.read(record, "")
    except Unusable as error:
        return error.reason
    return ""
