"""Opening sets of questions by their names."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genlip.data.dialogues.question_sources import ProceduralQuestions, QuestionParquet, QuestionTable
from genlip.data.dialogues.questions import open_questions

ROW = {"image": "a.png", "question": "Why?", "answer": "x"}


def test_the_name_says_which_form_a_set_has(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps([ROW]))
    (tmp_path / "two.json").write_text(json.dumps([ROW, ROW]))
    (tmp_path / "set.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "set.csv").write_text("image,question,answer\na.png,Why?,x\n")
    pq.write_table(pa.table({"image": [b"i"], "question": ["Why?"], "answer": ["x"]}), tmp_path / "set.parquet")
    assert open_questions("charts:7") == ProceduralQuestions("charts", 7)
    assert open_questions("documents") == ProceduralQuestions("documents", 0)
    assert isinstance(open_questions(str(tmp_path / "set.parquet")), QuestionParquet)
    for name in ("set.jsonl", "set.csv"):
        assert isinstance(open_questions(str(tmp_path / name)), QuestionTable)
    both = open_questions(str(tmp_path / "*.json"))
    assert [both.text(index).key for index in range(len(both))] == ["one.json:1", "two.json:1", "two.json:2"]
    assert open_questions(str(tmp_path / "one.json"), tmp_path / "images")[0].images == (str(tmp_path / "images/a.png"),)


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        ("charts:x", {}, ValueError, "charts:x: the seed of charts is 'x'; need a whole number from 0, as in 'charts:7'"),
        ("closeups:1", {}, ValueError, "closeups:1: need one of"),
        ("folder", {}, ValueError, "folder: cannot read questions from a folder; need .json"),
        ("nothing", {}, ValueError, "nothing: cannot read questions from a file without suffix"),
        (
            "a.tar",
            {},
            ValueError,
            "a.tar: cannot read questions from .tar; need .json, .jsonl, .csv, .tsv or .parquet files, or",
        ),
        ("missing.json", {}, FileNotFoundError, "missing.json: no such file"),
        ("charts:1", {"image_folder": "x"}, ValueError, "charts:1: image folder x is for tables with paths; leave it out"),
        ("s3://bucket/a.json", {}, ValueError, "tables are read from local disk"),
        ("set.parquet", {"image_folder": "x"}, ValueError, "image folder x is for tables with paths"),
    ],
)
def test_what_cannot_be_opened_is_said(spec, options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.table({"image": [b"i"], "question": ["Why?"], "answer": ["x"]}), "set.parquet")
    with pytest.raises(error, match=re.escape(message)):
        open_questions(spec, **options)
