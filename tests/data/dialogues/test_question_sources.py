"""Question sources: every question against what was written, pickled copies, and what is refused."""

import csv
import json
import pickle
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from genlip.data.dialogues.question import Question, question_form
from genlip.data.dialogues.question_sources import ProceduralQuestions, QuestionParquet, QuestionTable
from genlip.data.examples import Unusable
from genlip.data.sources import procedural
from genlip.data.sources.procedural import KINDS
from tests.data.helpers import encoded

ROWS = [
    {"image": "a.png", "question": "How many?", "answer": "5"},
    {"image": "b.png", "question": "Which, then?", "answers": ["red", "Red"], "type": "colour"},
    {"image": ["a.png", "b.png"], "question": "What differs?", "answer": "the colour"},
]
EXPECTED = [
    (("a.png",), "How many?", ("5",), ""),
    (("b.png",), "Which, then?", ("red", "Red"), "colour"),
    (("a.png", "b.png"), "What differs?", ("the colour",), ""),
]


def opened(path, **options):
    return QuestionTable.open([str(path)], str(path), **options)


def written(path, rows):
    """A table in the form of its suffix."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["image", "question", "answer"])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def shown(table):
    """What is written in each question, with images relative to the table."""
    found = [table[index] for index in range(len(table))]
    names = [tuple(image.rpartition("/")[2] for image in one.images) for one in found]
    return [(image, one.question, one.answers, one.type) for image, one in zip(names, found, strict=True)]


@pytest.mark.parametrize("name", ["set.json", "set.jsonl"])
def test_each_row_is_a_question(tmp_path, name):
    table = opened(written(tmp_path / name, ROWS))
    assert shown(table) == EXPECTED
    assert table[0].images == (str(tmp_path / "a.png"),)
    assert [table.text(index).key for index in range(3)] == [f"{name}:1", f"{name}:2", f"{name}:3"]
    assert table.text(2) == Question(f"{name}:3", (), "What differs?", ("the colour",))
    assert shown(pickle.loads(pickle.dumps(table))) == EXPECTED


def test_a_csv_table_and_one_under_data_are_read(tmp_path):
    rows = [{**row, "image": f"{i}.png", "answer": "x, y"} for i, row in enumerate(ROWS[:1] * 2)]
    assert shown(opened(written(tmp_path / "set.csv", rows))) == [
        ((f"{i}.png",), "How many?", ("x, y",), "") for i in (0, 1)
    ]
    assert shown(opened(written(tmp_path / "set.json", {"dataset": "d", "data": ROWS}))) == EXPECTED


def test_names_are_keys_if_each_has_its_own(tmp_path):
    named = [{**ROWS[0], "question_id": 10 + i} for i in range(2)]
    assert [opened(written(tmp_path / "set.json", named)).text(i).key for i in range(2)] == ["10", "11"]
    same = [{**ROWS[0], "id": "q"}] * 2
    assert [opened(written(tmp_path / "set.json", same)).text(i).key for i in range(2)] == ["set.json:1", "set.json:2"]


def test_rows_may_name_their_images_in_different_columns(tmp_path):
    asked = {"question": "How many?", "answer": "2"}
    named = [{"image": "a.png"}, {"images": ["b.png", "c.png"]}, {"image": "", "images": "d.png"}, {}]
    table = opened(written(tmp_path / "set.json", [row | asked for row in named]))
    found = [[path.rpartition("/")[2] for path in table[index].images] for index in range(3)]
    assert found == [["a.png"], ["b.png", "c.png"], ["d.png"]]
    with pytest.raises(Unusable, match=r"^set.json:4: no path in 'image'$"):
        table[3]


def test_images_may_lie_in_a_folder_of_their_own(tmp_path):
    table = opened(written(tmp_path / "set.json", ROWS), image_folder=tmp_path / "images")
    assert table[0].images == (str(tmp_path / "images/a.png"),)


def test_images_outside_need_leave(tmp_path):
    path = written(tmp_path / "set.json", [ROWS[0], {**ROWS[0], "image": ["a.png", "../../secret.png"]}])
    with pytest.raises(ValueError, match=r"set.json, set.json:2: its image, '../../secret.png', lies outside"):
        opened(path)
    assert len(opened(path, allow_outside=True)) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": None}, "set.json:2: no path in 'image'"),
        ({"image": []}, "set.json:2: no path in 'image'"),
        ({"image": "http://x/a.png"}, "set.json:2: its image is at a URL"),
        ({"answer": None}, "set.json:2: no answer"),
        ({"question": "<image> and <image>?"}, "set.json:2: 2 marks '<image>' for 1 images"),
    ],
)
def test_a_bad_row_is_named_when_it_is_read_and_costs_no_other(tmp_path, row, message):
    table = opened(written(tmp_path / "set.json", [ROWS[0], {**ROWS[0], **row}]))
    with pytest.raises(Unusable, match=re.escape(message)):
        table[1]
    assert table[0].question == "How many?"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ({"annotations": []}, 'need a list of objects with image, question and answer, or such a list under "data"'),
        ([ROWS[0], 5], "need a list of objects"),
        ([{"question": "a", "answer": "b"}], "no image among question, answer; need one of path, file"),
        ([{"image": "a.png", "answer": "b"}], "no question among image, answer"),
        ([{**ROWS[0], "answer": None}] * 3, "none of 3 questions has an answer in answer; need a split whose answers are"),
    ],
)
def test_a_file_that_is_no_table_of_questions_is_refused(tmp_path, rows, message):
    path = written(tmp_path / "set.json", rows)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        opened(path)
    assert str(path) in str(error.value)


# -- Parquet


IMAGES = [encoded(Image.new("RGB", (4, 4), colour), "PNG") for colour in ("red", "lime")]


def parquet(path, **columns):
    pq.write_table(pa.table({"image": [{"bytes": image, "path": None} for image in IMAGES], **columns}), path)
    return QuestionParquet.open([str(path)], str(path))


def test_the_published_forms_of_parquet_are_read(tmp_path):
    """Columns as DocVQA, VQAv2, AI2D, ScienceQA, ChartQA and MMBench have them on the Hub."""
    people = [[{"answer": f"a{i % 3}", "answer_confidence": "yes", "answer_id": i} for i in range(10)]] * 2
    both = ["Why?", "Where?"]
    docvqa = parquet(tmp_path / "1.parquet", question=both, answers=[["x", "X"], ["here"]], questionId=["7", "8"])
    assert docvqa[0] == Question("1.parquet:0", (IMAGES[0],), "Why?", ("x", "X"))
    assert docvqa[1] == Question("1.parquet:1", (IMAGES[1],), "Where?", ("here",))
    vqa = parquet(
        tmp_path / "2.parquet", question=both, answers=people, multiple_choice_answer=["a0"] * 2, answer_type=["o"] * 2
    )
    assert vqa.text(1).answers == tuple(f"a{i % 3}" for i in range(10))
    ai2d = parquet(tmp_path / "3.parquet", question=both, options=[["0", "1"], ["s", "t"]], answer=["0", "1"])
    assert [(ai2d.text(i).right, ai2d.text(i).answers) for i in (0, 1)] == [(0, ("0",)), (1, ("t",))]
    science = parquet(
        tmp_path / "4.parquet", question=both, choices=[["a", "b"], ["c", "d"]], answer=[1, 0], hint=["", "Rain."]
    )
    assert [science.text(i).letter for i in (0, 1)] == ["B", "A"]
    assert science.text(1).question == "Context: Rain.\nWhere?"
    chart = parquet(tmp_path / "5.parquet", question=both, answer=["1", "2"], type=["human_test", "augmented_test"])
    assert [chart.text(i).type for i in (0, 1)] == ["human_test", "augmented_test"]
    mmbench = parquet(
        tmp_path / "6.parquet", question=both, A=["a", "b"], B=["c", "d"], C=["e", None], D=["f", None], answer=["D", "B"]
    )
    assert [(mmbench.text(i).options, mmbench.text(i).letter) for i in (0, 1)] == [
        (("a", "c", "e", "f"), "D"),
        (("b", "d"), "B"),
    ]
    assert pickle.loads(pickle.dumps(mmbench))[0].images == (IMAGES[0],)


def test_parquet_without_answers_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"with columns image .*: no answer among question; need"):
        parquet(tmp_path / "a.parquet", question=["a", "b"])
    with pytest.raises(ValueError, match="none of 2 questions has an answer in answer"):
        parquet(tmp_path / "b.parquet", question=["a", "b"], answer=pa.array([None, None], pa.string()))


# -- procedural


@pytest.mark.parametrize("kind", [name for name, made in KINDS.items() if made.questions])
def test_each_question_is_one_that_its_image_answers(kind):
    data = ProceduralQuestions(kind, 3, length=30)
    for index in range(30):
        one = data[index]
        number = int(one.key.rpartition(":")[2])
        content = KINDS[kind].content(3, number)
        assert number % 30 == index
        assert (one.question, *one.answers) in KINDS[kind].questions(content)
        assert one.images[0].tobytes() == KINDS[kind].draw(content).tobytes()
        assert one.type == question_form(one.question)
        assert data.text(index) == Question(one.key, (), one.question, one.answers, type=one.type)
        assert data[index] == one or data[index].images[0].tobytes() == one.images[0].tobytes()
    assert len({data.text(index).key for index in range(30)}) == 30


def test_an_image_without_questions_gives_way_to_one_further_on(monkeypatch):
    made = KINDS["charts"]._replace(
        content=lambda seed, number: number, questions=lambda number: (("Who?", "you"),) if number >= 40 else ()
    )
    monkeypatch.setitem(procedural.KINDS, "charts", made)
    assert [ProceduralQuestions("charts", length=30).text(index).key for index in (0, 9, 10, 29)] == [
        "charts:0:60", "charts:0:69", "charts:0:40", "charts:0:59",
    ]  # fmt: skip
    monkeypatch.setitem(procedural.KINDS, "charts", made._replace(questions=lambda number: ()))
    with pytest.raises(Unusable, match="charts:0:5: no image with a question"):
        ProceduralQuestions("charts").text(5)


def test_the_questions_of_an_image_are_all_asked_about_some_image():
    forms = {ProceduralQuestions("charts", 1).text(index).type for index in range(300)}
    assert {"What is the title …", "What kind of chart …", "What is the value …", "How many points are …"} <= forms


def test_a_set_ends_and_unknown_kinds_are_refused():
    with pytest.raises(IndexError, match="question 3 of 3"):
        ProceduralQuestions("charts", length=3).text(3)
    for wrong in (("closeups", 0), ("nonsense", 0), ("charts", -1)):
        with pytest.raises(ValueError, match=r"need one of .*documents, charts"):
            ProceduralQuestions(*wrong)
