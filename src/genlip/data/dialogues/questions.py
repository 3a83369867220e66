"""Questions: the name or path of a set of questions -> the set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from genlip.data.dialogues.question import Question, QuestionSource
from genlip.data.dialogues.question_sources import ProceduralQuestions, QuestionParquet, QuestionTable
from genlip.data.sources.procedural import KINDS, is_procedural
from genlip.data.sources.tables import READERS
from genlip.model.files import expanded

__all__ = ["Question", "QuestionSource", "open_questions"]


def open_questions(spec: str, image_folder: str | Path | None = None, allow_outside: bool = False) -> QuestionSource:
    """Open a set of questions by its name or path.

    "charts:1", "documents:1", …    questions about procedural images, one about each
    .json, .jsonl, .csv or .tsv     rows with `image`, a path or several, `question`, and `answer` or `answers`
    .parquet                        rows with an encoded image, as benchmarks are on the Hub

    Rows may have `options` or `choices`, of which the answer is the number from 0, the letter or the text; `type` or `kind`,
    by which scores are told apart; `id`; and `hint`, which is put before the question. Files may be globs.
    `image_folder` is the folder that the paths of a table are relative to, if it is not that of the table.
    `allow_outside` allows a table to name images outside that folder.

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    suffix = PurePosixPath(spec).suffix.lower()
    if is_procedural(spec):
        return _procedural(spec, image_folder)
    if suffix not in (*READERS, ".parquet"):
        kinds = ", ".join(f"{kind}:1" for kind, made in KINDS.items() if made.questions)
        found = "a folder" if expanded(spec).is_dir() else suffix or "a file without suffix"
        raise ValueError(
            f"{spec}: cannot read questions from {found}; need .json, .jsonl, .csv, .tsv or .parquet files, or {kinds}"
        )
    from genlip.data.sources.paths import expand, is_remote  # these import fsspec, which procedural images do not need

    files = expand(spec)
    if suffix == ".parquet":
        if image_folder:
            raise ValueError(f"{spec}: image folder {image_folder} is for tables with paths; leave it out")
        return QuestionParquet.open(files, spec)
    if any(map(is_remote, files)):
        raise ValueError(f"{spec}: tables are read from local disk, beside their images; .parquet from anywhere")
    return QuestionTable.open(files, spec, image_folder, allow_outside)


def _procedural(spec: str, image_folder: str | Path | None) -> ProceduralQuestions:
    kind, _, seed = spec.partition(":")
    if image_folder:
        raise ValueError(f"{spec}: image folder {image_folder} is for tables with paths; leave it out")
    if seed and not seed.isdecimal():
        raise ValueError(f"{spec}: the seed of {kind} is {seed!r}; need a whole number from 0, as in '{kind}:7'")
    return ProceduralQuestions(kind, int(seed or 0))
