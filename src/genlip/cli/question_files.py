"""Question files: a file of questions about images, and the file of their answers, which a stopped command goes on with.

In: a JSON, JSONL, CSV or TSV file whose rows have a question, and images and an id if they have them. Out: dialogues.
Answers are lines of JSON; those that are there already are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from genlip.cli.model_options import UsageError
from genlip.data.dialogues import IMAGE_MARK, Dialogue, Message
from genlip.data.examples import Unusable
from genlip.data.images import refuse_url
from genlip.data.sources.tables import PATH_COLUMNS, READERS, check_inside, filled_path_column
from genlip.model.fields import shown
from genlip.model.reading import parse_json
from genlip.model.writing import to_json, write_text
from genlip.terminal import complain

__all__ = ["Asked", "answered", "read_questions"]

_QUESTIONS, _IDS = ("question", "query", "prompt", "text"), ("id", "question_id", "questionId")


class Asked(NamedTuple):
    """A row of a file of questions.

    Attributes:
        id: a text or a number; the number of the row, from 1, if it has none.
        question: its text.
        images: paths.
        fault: why it cannot be asked; empty if it can.
    """

    id: str | int
    question: str
    images: tuple[str, ...]
    fault: str = ""

    def dialogue(self, system: str) -> Dialogue:
        """With a message of the system, unless that is empty. Images without marks in the question come first."""
        marked = IMAGE_MARK in self.question
        text = self.question if marked else f"{IMAGE_MARK}\n" * len(self.images) + self.question
        messages = (Message("user", text),)
        return Dialogue(str(self.id), self.images, (Message("system", system), *messages) if system else messages)


def read_questions(file: str, allow_outside: bool = False) -> list[Asked]:
    """The rows of a file, in order. Paths of images are relative to it.

    allow_outside  also take images outside its folder

    Raises ValueError for a file of another kind, without questions, or with an id that stands twice.
    """
    path = Path(file)
    if (reader := READERS.get(path.suffix.lower())) is None:
        raise UsageError(f"--questions {file}: need a file that ends with {', '.join(READERS)}")
    rows = list(reader(path))
    names = list(dict.fromkeys(name for row in rows for name in row))
    question = _first(_QUESTIONS, names)
    if question is None:
        raise UsageError(f"{file}: no question among {', '.join(names) or 'no fields'}; need one of {', '.join(_QUESTIONS)}")
    key = _first(_IDS, names)
    found = [_asked(row, number, question, key) for number, row in enumerate(rows, 1)]
    _check_ids(file, found)
    if not any(name in names for name in PATH_COLUMNS):
        known = ", ".join(PATH_COLUMNS)
        complain(f"{file}: no image among {', '.join(names)}: asking without images; they are read from {known}")
    for one in found:
        for name in () if allow_outside else one.images:
            check_inside(path.parent, name, f"{file}, id {one.id}")
    return [one._replace(images=tuple(str(path.parent / name) for name in one.images)) for one in found]


def answered(out: str | None, asked: Iterable[Asked], model: str) -> set[str | int]:
    """The ids that a file of answers has an answer for. The file is written anew with these alone.

    Raises ValueError if it holds an answer to another question, or of another model.
    """
    if out is None:
        return set()
    kept, questions = dict[str | int, dict[str, Any]](), {one.id: one.question for one in asked}
    for record in _records(Path(out)):
        if "answer" not in record:
            continue
        place = record.get("id")
        if questions.get(place) != record.get("question") or record.get("model") != model:  # type: ignore[arg-type]
            raise UsageError(
                f"{out}: holds an answer of {shown(record.get('model'))} to {shown(record.get('question'))}, id "
                f"{shown(place)}, which is another model or question: name another file"
            )
        kept[place] = record  # type: ignore[index]
    write_text(Path(out), "".join(f"{to_json(record)}\n" for record in kept.values()))
    return set(kept)


def _records(out: Path) -> list[dict[str, Any]]:
    """The lines of an earlier attempt; the last one may be torn."""
    lines = out.read_text(encoding="utf8", errors="replace").split("\n") if out.is_file() else []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise UsageError(f"{out}, line {number}: no line of answers; name another file, or remove this one")
        found.append(record)
    return found


def _first(usual: Iterable[str], names: list[str]) -> str | None:
    return next((name for name in usual if name in names), None)


def _asked(row: Mapping[str, Any], number: int, question: str, key: str | None) -> Asked:
    """A row; what is wrong with it is its `fault`."""
    entry = row.get(key) if key else number
    place = entry if isinstance(entry, (str, int)) and not isinstance(entry, bool) and entry != "" else number
    text = row.get(question)
    try:
        column = filled_path_column(row)
        images = tuple(_images(row.get(column), column)) if column else ()
        if not isinstance(text, str) or not text.strip():
            raise Unusable("no question", f"id {place}: {question} is {shown(text)}, need a text")
    except Unusable as error:
        return Asked(place, text if isinstance(text, str) else "", (), str(error))
    return Asked(place, text, images)


def _images(entry: Any, column: str | None) -> list[str]:
    """The paths in a row: none, one, a list, or the Hub's {"path": …}. Raises `Unusable`."""
    if isinstance(entry, str) and entry.lstrip().startswith("["):
        entry = json.loads(entry) if _is_list(entry) else entry
    several = entry if isinstance(entry, list) else [] if entry in (None, "") else [entry]
    found = list[str]()
    for one in several:
        path = one.get("path") if isinstance(one, Mapping) else one
        if not isinstance(path, str) or not path:
            raise Unusable("missing", f"{column} is {shown(entry)}: need a path, or a list of paths")
        refuse_url(path)
        found.append(path)
    return found


def _is_list(text: str) -> bool:
    try:
        return isinstance(parse_json(text), list)
    except ValueError:
        return False


def _check_ids(file: str, asked: Iterable[Asked]) -> None:
    seen = set[str | int]()
    for one in asked:
        if one.id in seen:
            raise UsageError(
                f"{file}: the id {shown(one.id)} stands twice: give each question its own, or remove the column"
            )
        seen.add(one.id)
