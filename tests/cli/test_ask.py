"""`genlip ask`: one question, a chat, files of questions that a stopped command goes on with, and what it refuses."""

import io
import json

import pytest

from genlip.cli.ask import _images_and_question
from genlip.cli.main import main
from genlip.mllm.assistant import Assistant
from genlip.terminal import harmless

from ..mllm.folders import TinyMLLM, make_encoder, pictures
from .helpers import error_line

pytest.importorskip("transformers")

QUESTION = "what is shown here?"
FEW = ["--max-tokens", "5"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a model and three pictures."""
    folder = tmp_path_factory.mktemp("desk")
    TinyMLLM.of(make_encoder("genlip")).write(folder / "model")
    for number, picture in enumerate(pictures()):
        picture.save(folder / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def at_the_desk(desk, monkeypatch):
    monkeypatch.chdir(desk)


@pytest.fixture(scope="module")
def assistant(desk):
    return Assistant.load(desk / "model")


def printed(capsys, *arguments):
    capsys.readouterr()
    assert main(["ask", *map(str, arguments), *FEW]) == 0
    return capsys.readouterr().out


def records(file):
    return [json.loads(line) for line in file.read_text(encoding="utf8").splitlines()]


def test_a_question_is_answered_as_python_answers_it(assistant, capsys):
    said = set()
    for number in range(3):
        expected = assistant.ask(f"{number}.png", QUESTION, max_tokens=5)
        assert printed(capsys, "model", f"{number}.png", QUESTION).strip() == expected
        said.add(expected)
    assert len(said) > 1
    both = assistant.ask(["0.png", "1.png"], QUESTION, system="be brief", max_tokens=5)
    assert printed(capsys, "model", "0.png", "1.png", QUESTION, "--system", "be brief").strip() == both
    assert printed(capsys, "model", QUESTION).strip() == assistant.ask([], QUESTION, max_tokens=5)
    sampled = "".join(assistant.stream("0.png", QUESTION, max_tokens=5, temperature=3.0, seed=7))
    assert printed(capsys, "model", "0.png", QUESTION, "--temperature", "3", "--seed", "7") == harmless(sampled) + "\n"


@pytest.mark.parametrize(
    ("words", "images", "question"),
    [
        ([], [], None),
        (["0.png"], ["0.png"], None),
        (["0.png", "1.png"], ["0.png", "1.png"], None),
        (["0.png", "what?"], ["0.png"], "what?"),
        (["what?"], [], "what?"),
        (["gone.png"], ["gone.png"], None),  # a slip, and no question
        (["0.png", "gone.JPG"], ["0.png", "gone.JPG"], None),
        (["0.png", "is this a photo.jpg"], ["0.png"], "is this a photo.jpg"),
        (["0.png", "why " * 2000], ["0.png"], "why " * 2000),  # longer than a file name may be
    ],
)
def test_the_question_is_the_last_word_that_is_no_file(words, images, question):
    assert _images_and_question(words) == (images, question)


def test_a_chat_goes_on_until_it_is_told_to_end(assistant, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("what?\n\nwhy<|im_end|>\nand here?\n:quit\nnever asked\n"))
    capsys.readouterr()
    assert main(["ask", "model", "0.png", *FEW]) == 0
    out, err = capsys.readouterr()
    talk = assistant.conversation("0.png")
    expected = [talk.ask(question, max_tokens=5) for question in ("what?", "and here?")]
    assert [line.strip() for line in out.splitlines() if line.strip()] == [one for one in expected if one]
    (line,) = err.splitlines()
    assert line == "genlip: the user's text holds '<|im_end|>', a control token of this model: remove it"
    monkeypatch.setattr("sys.stdin", io.StringIO("what?"))  # the end of the input ends it too
    assert main(["ask", "model", "0.png", *FEW]) == 0
    assert capsys.readouterr().out.strip() == expected[0]


# -- files of questions

ROWS_OF_TWO = "left <image> and right <image>"
ROWS = [
    {"id": "a", "image": "0.png", "question": QUESTION},
    {"id": 7, "image": ["0.png", "1.png"], "question": "left <image> and right <image>"},
    {"id": "gone", "image": "gone.png", "question": QUESTION},
    {"id": "text", "question": "two blue squares"},
    {"id": "empty", "image": "1.png", "question": ""},
    {"id": "control", "image": "1.png", "question": "what<|im_end|>"},
    {"id": "hub", "image": {"path": "2.png"}, "question": QUESTION},
    {"id": "column", "images": ["0.png", "1.png"], "image": "", "question": ROWS_OF_TWO},
    {"id": "url", "image": "https://example.org/a.png", "question": QUESTION},
]
FAULTS = {
    "gone": "gone.png: no such file", "empty": "id empty: question is '', need a text",
    "control": "a control token of this model", "url": "a URL, which is not fetched",
}  # fmt: skip


def write_rows(folder, rows=ROWS, name="questions.jsonl"):
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures()):
        picture.save(folder / f"{number}.png")
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text)
    return folder / name


def expected_answers(assistant):
    one, two, three = pictures()
    given = {"a": ([one], QUESTION), 7: ([one, two], ROWS[1]["question"]), "text": ([], "two blue squares"),
             "hub": ([three], QUESTION), "column": ([one, two], ROWS_OF_TWO)}  # fmt: skip
    return {key: assistant.ask(*asked, max_tokens=5) for key, asked in given.items()}


@pytest.mark.parametrize("name", ["questions.jsonl", "questions.json"])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_file_of_questions_keeps_ids_and_names_what_cannot_be_asked(name, batch, assistant, tmp_path, capsys):
    questions, out = write_rows(tmp_path / "set", name=name), tmp_path / "answers.jsonl"
    assert main(["ask", "model", "--questions", str(questions), "--out", str(out), "--batch-size", str(batch), *FEW]) == 1
    errors = capsys.readouterr().err.splitlines()
    found = records(out)
    assert [record["id"] for record in found] == [row["id"] for row in ROWS]
    assert [record["question"] for record in found] == [row["question"] for row in ROWS]
    assert {record["id"]: record["answer"] for record in found if "answer" in record} == expected_answers(assistant)
    assert {record["model"] for record in found if "answer" in record} == {"model"}
    for key, fault in FAULTS.items():
        (record,) = [one for one in found if one["id"] == key]
        assert fault in record["error"]
        assert any(fault in line for line in errors)
    assert errors[-1] == "genlip: 4 of 9 questions could not be asked"


def test_rows_of_a_csv_without_ids_are_numbered(assistant, tmp_path, capsys):
    write_rows(tmp_path)
    (tmp_path / "questions.csv").write_text(f'image,question\n0.png,{QUESTION}\n,why?\n"[""0.png"", ""1.png""]",what?\n')
    out = printed(capsys, "model", "--questions", tmp_path / "questions.csv")
    one, two, _ = pictures()
    expected = [([one], QUESTION), ([], "why?"), ([one, two], "what?")]
    answers = [assistant.ask(*asked, max_tokens=5) for asked in expected]
    assert out == "".join(f"{number}: {answer}\n" for number, answer in enumerate(answers, 1))


def test_a_file_without_a_column_of_images_says_so(assistant, tmp_path, capsys):
    questions = write_rows(tmp_path, [{"id": "a", "img": "0.png", "question": "why?"}])
    assert main(["ask", "model", "--questions", str(questions), *FEW]) == 0
    told = capsys.readouterr()
    assert f"{questions}: no image among id, img, question: asking without images; they are read from path, " in told.err
    assert told.out == f"a: {assistant.ask([], 'why?', max_tokens=5)}\n"


def test_answers_that_exist_are_kept_and_the_rest_is_asked(assistant, tmp_path, monkeypatch, capsys):
    questions, out = write_rows(tmp_path / "set"), tmp_path / "answers.jsonl"
    command = ["ask", "model", "--questions", str(questions), "--out", str(out), "--batch-size", "2", *FEW]
    main(command)
    whole = {record["id"]: record for record in records(out)}
    lines = out.read_text().splitlines(keepends=True)
    kept = [json.loads(lines[0]) | {"answer": "kept"}, json.loads(lines[2])]  # an answer, and an error
    out.write_text("".join(json.dumps(one) + "\n" for one in kept) + lines[3][:20])  # torn
    asked, answer = [], Assistant.answer

    def counted(self, dialogues, *rest, **decoding):
        asked.extend(dialogues)
        return answer(self, dialogues, *rest, **decoding)

    monkeypatch.setattr(Assistant, "answer", counted)
    main(command)
    again = {record["id"]: record for record in records(out)}
    assert again == whole | {"a": whole["a"] | {"answer": "kept"}}
    assert len(asked) == 4
    before = out.read_bytes()
    good = [row for row in ROWS if row["id"] not in FAULTS]
    write_rows(tmp_path / "set", good)
    monkeypatch.setattr("genlip.cli.ask._load", lambda args: pytest.fail("nothing is left to ask"))
    assert main(command) == 0
    assert len(out.read_bytes()) < len(before)  # errors of the earlier attempt are gone
    assert [record["id"] for record in records(out)] == ["a", 7, "text", "hub", "column"]


def test_an_interrupted_command_has_written_its_answers(tmp_path, monkeypatch, capsys):
    questions, out = write_rows(tmp_path / "set"), tmp_path / "answers.jsonl"
    prepare = Assistant.prepare

    def stopped(self, dialogue):
        if dialogue.key == "hub":
            raise KeyboardInterrupt
        return prepare(self, dialogue)

    monkeypatch.setattr(Assistant, "prepare", stopped)
    assert main(["ask", "model", "--questions", str(questions), "--out", str(out), "--batch-size", "2", *FEW]) == 130
    assert [record["id"] for record in records(out)] == ["a", 7, "gone", "text", "empty", "control"]


# -- what is refused


def test_answers_of_another_model_or_to_other_questions_are_not_mixed(tmp_path, capsys):
    questions, out = write_rows(tmp_path), tmp_path / "answers.jsonl"
    command = ["ask", "model", "--questions", questions, "--out", out]
    for record in (
        {"id": "a", "question": "another?", "answer": "x", "model": "model"},
        {"id": "a", "question": QUESTION, "answer": "x", "model": "other"},
        {"id": "unknown", "question": QUESTION, "answer": "x", "model": "model"},
    ):
        out.write_text(json.dumps(record) + "\n")
        assert "which is another model or question: name another file" in error_line(capsys, *command)
        assert records(out) == [record]
    out.write_text("a shopping list\n")
    assert error_line(capsys, *command).endswith("line 1: no line of answers; name another file, or remove this one")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1, "question": "a"}, {"id": 1, "question": "b"}], "the id 1 stands twice"),
        ([{"image": "0.png"}], "no question among image; need one of question, query, prompt, text"),
        ([{"question": "a", "image": "../0.png"}], "lies outside"),
    ],
)
def test_files_that_cannot_be_asked_are_refused(rows, message, tmp_path, capsys):
    questions = write_rows(tmp_path / "set", rows)
    assert message in error_line(capsys, "ask", "model", "--questions", questions)


def test_images_outside_are_read_on_request(assistant, tmp_path, capsys):
    write_rows(tmp_path)
    questions = write_rows(tmp_path / "set", [{"question": QUESTION, "image": "../1.png"}])
    said = printed(capsys, "model", "--questions", questions, "--allow-outside")
    assert said == f"1: {assistant.ask(pictures()[1], QUESTION, max_tokens=5)}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "gone.png", "what?"], "gone.png: no such file"),
        (["model", "https://example.org/a.png", "what?"], "a URL, which is not fetched: download it"),
        (
            ["model", "0.png", "--questions", "q.jsonl"],
            "0.png: with --questions, images and questions are those of the file",
        ),
        (["model", "0.png", "what?", "--out", "a.jsonl"], "--out a.jsonl: only the answers to --questions"),
        (["model", "--questions", "q.txt"], "need a file that ends with .csv, .tsv, .json, .jsonl"),
        (["model", "--questions", "q.jsonl", "--batch-size", "0"], "--batch-size is 0: it must be at least 1"),
        (["model", "--questions", "q.jsonl", "--out", "no/a.jsonl"], "no such folder"),
        (["model", "0.png", "what?", "--temperature", "-1"], "temperature -1.0"),
        (["gone", "0.png", "what?"], "gone: no such folder; did you mean model?"),
        (["model", "0.png", "what?", "--device", "abacus"], "--device abacus"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(arguments, message, capsys):
    assert message in error_line(capsys, "ask", *arguments)
