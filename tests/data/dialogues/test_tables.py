"""`genlip.data.dialogues.tables`: rows of tables against what was written, and what is said of the others."""

import json
import pickle
from pathlib import Path

import pytest

from genlip.data.dialogues import open_dialogues

from ..helpers import written
from .helpers import assistant, gpt, human, refused, turns, user, write_json

TALK = [human("<image>\nWhat?"), gpt("A cat.")]
TEXT = [human("Two and two?"), gpt("Four.")]
PAIR = [human("<image> or <image>?"), gpt("The first.")]
ROWS = [
    {"id": "one", "image": "a.png", "conversations": TALK},
    {"id": 2, "conversations": TEXT},
    {"id": "three", "image": ["a.png", "deep/b.jpg"], "conversations": PAIR},
    {"id": "four", "images": ["c.png"], "conversations": TALK},
    {"id": "five", "image": "", "images": None, "conversations": TEXT},
    {"id": "six", "image": {"path": "d.png"}, "conversations": TALK},
]
EXPECTED = [
    (["a.png"], turns("<image>\nWhat?", "A cat.")),
    ([], turns("Two and two?", "Four.")),
    (["a.png", "deep/b.jpg"], turns("<image> or <image>?", "The first.")),
    (["c.png"], turns("<image>\nWhat?", "A cat.")),
    ([], turns("Two and two?", "Four.")),
    (["d.png"], turns("<image>\nWhat?", "A cat.")),
]


def table(folder, *rows, name="some.json"):
    return open_dialogues(write_json(folder / name, list(rows)))


@pytest.mark.parametrize("name", ["mix.json", "mix.jsonl", "MIX.JSON"])
def test_llavas_form_is_read_as_it_was_written(name, tmp_path):
    path = write_json(tmp_path / "sub" / name, ROWS)
    source = open_dialogues(path)
    source = pickle.loads(pickle.dumps(source))
    assert (source.name, len(source), repr(source)) == (path, 6, f"<DialogueTables {path!r}: 6>")
    for number, (row, (images, messages)) in enumerate(zip(ROWS, EXPECTED, strict=True)):
        dialogue = source[number]
        assert dialogue.key == f"{path}, row {number + 1}, id {row['id']}"
        assert dialogue.images == tuple(tmp_path / "sub" / image for image in images)
        assert dialogue.messages == messages
    assert len(list(source)) == 6
    for outside in (-1, 6, 10**12):
        with pytest.raises(IndexError, match=f"row {outside} of 6"):
            source[outside]


def test_the_images_are_paths_that_are_not_read(tmp_path):
    source = table(tmp_path, ROWS[0])
    assert source[0].images == (tmp_path / "a.png",)
    assert isinstance(source[0].images[0], Path)


def test_messages_with_parts_name_their_images(tmp_path):
    parts = [
        {"type": "image", "image": "a.png"},
        {"type": "text", "text": "or"},
        {"type": "image_url", "image_url": {"url": "b.png"}},
    ]
    source = table(tmp_path, {"messages": [user(parts), assistant("The first.")]}, name="some.jsonl")
    assert source[0].images == (tmp_path / "a.png", tmp_path / "b.png")
    assert source[0].messages == turns("<image>\nor\n<image>", "The first.")


def test_parts_without_places_take_the_images_of_the_row(tmp_path):
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    source = table(tmp_path, {"images": ["a.png"], "messages": [user(parts), assistant("A cat.")]})
    assert (source[0].images, source[0].messages) == ((tmp_path / "a.png",), turns("<image>\nWhat?", "A cat."))


def test_pairs_need_no_marks(tmp_path):
    rows = [
        {
            "images": ["a.png", "b.png"],
            "texts": [{"user": "What?", "assistant": "Cats."}, {"user": "Why?", "assistant": "So."}],
        },
        {"texts": [{"user": "Two and two?", "assistant": "Four."}]},
    ]
    source = table(tmp_path, *rows)
    assert source[0].messages == turns("<image>\n<image>\nWhat?", "Cats.", "Why?", "So.")
    assert source[1].messages == turns("Two and two?", "Four.")


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_questions_and_answers_in_columns(suffix, tmp_path):
    cell = "\t" if suffix == ".tsv" else ","
    lines = [("image", "question", "answer"), ("a.png", "What?", "A cat."), ("", "Two and two?", "Four.")]
    path = written(tmp_path, f"some{suffix}", "\n".join(cell.join(line) for line in lines))
    source = open_dialogues(str(path))
    assert source[0].messages == turns("<image>\nWhat?", "A cat.")
    assert (source[1].images, source[1].messages) == ((), turns("Two and two?", "Four."))
    assert source[1].key == f"{path}, row 2"


def test_captions_of_a_table_are_answers(tmp_path):
    path = written(tmp_path, "some.csv", "path,caption\na.png,A cat.\nb.png,\n,A dog.\n")
    source = open_dialogues(str(path))
    assert (source[0].images, source[0].messages) == ((tmp_path / "a.png",), turns("<image>", "A cat."))
    assert refused(source, 1) == ("no conversation", f"{path}, row 2: no conversation and no caption in caption")
    assert refused(source, 2) == ("no image", f"{path}, row 3: a caption without an image")


def test_captions_without_a_column_of_images_are_refused(tmp_path):
    path = written(tmp_path, "some.csv", "url,caption\nhttp://a/b.png,A cat.\n")
    with pytest.raises(
        ValueError, match=r"some.csv: columns url, caption; captions need an image, in one of images, image, path"
    ):
        open_dialogues(str(path))


def test_conversations_win_over_captions_and_fields_may_be_named(tmp_path):
    row = {"image": "a.png", "caption": "A cat.", "conversations": TALK, "other": "A tom."}
    path = write_json(tmp_path / "some.json", [row])
    assert open_dialogues(path)[0].messages == turns("<image>\nWhat?", "A cat.")
    assert open_dialogues(path, "other")[0].messages == turns("<image>", "A tom.")
    with pytest.raises(
        ValueError,
        match=r"some.json: no conversations or captions among image, caption, conversations, other; need one of missing",
    ):
        open_dialogues(path, "missing")


def test_several_files_are_one_source(tmp_path):
    for number in range(3):
        rows = [{"image": f"{number}-{row}.png", "conversations": TALK} for row in range(number + 1)]
        write_json(tmp_path / f"part{number}" / "mix.json", rows)
    source = open_dialogues(str(tmp_path / "part*/mix.json"))
    found = [(one.key, one.images[0]) for one in source]
    assert found == [
        (f"{tmp_path}/part{number}/mix.json, row {row + 1}", tmp_path / f"part{number}/{number}-{row}.png")
        for number in range(3)
        for row in range(number + 1)
    ]
    assert len(open_dialogues(str(tmp_path / "part{0,2}/mix.json"))) == 4


def test_what_other_columns_hold_is_not_kept(tmp_path):
    source = table(tmp_path, {**ROWS[0], "scores": list(range(10_000)), "caption": "x" * 10_000})
    assert len(source.rows) < 300


# -- images outside


@pytest.mark.parametrize("path", ["../a.png", "/etc/a.png", "b/../../a.png"])
def test_images_outside_of_the_folder_are_refused(path, tmp_path):
    for image in (path, ["a.png", path], {"path": path}):
        file = write_json(tmp_path / "deep/some.json", [ROWS[0], {"image": image, "conversations": TALK}])
        with pytest.raises(
            ValueError, match=r"row 2: its image, .* lies outside .*; if you trust this file, allow it"
        ) as error:
            open_dialogues(file)
        assert str(error.value).startswith(f"{file}, row 2")
    assert open_dialogues(file, allow_outside=True)[1].images == (tmp_path / "deep" / path,)


@pytest.mark.parametrize("path", ["../a.png", "/etc/a.png"])
def test_so_are_those_that_a_message_names(path, tmp_path):
    talk = [user([{"type": "image", "image": path}]), assistant("A cat.")]
    file = write_json(tmp_path / "deep/some.json", [{"messages": talk}, {"messages": json.dumps([*talk])}])
    for index in range(2):
        reason, message = refused(open_dialogues(file), index)
        assert reason == "missing"
        assert f"row {index + 1}: a message: its image, {path!r}, lies outside {tmp_path}/deep" in message
        assert open_dialogues(file, allow_outside=True)[index].images == (tmp_path / "deep" / path,)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("https://a/b.png", "its image is at a URL, 'https://a/b.png'; fetch it first, as img2dataset does"),
        (["a.png", None], "no path in 'image'"),
        (3, "no path in 'image'"),
        ({"bytes": "x"}, "no path in 'image'"),
    ],
)
def test_images_without_a_path_are_named(image, message, tmp_path):
    source = table(tmp_path, {"image": image, "conversations": TALK})
    assert refused(source) == ("missing", f"{tmp_path}/some.json, row 1: {message}")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("https://a/b.png", "its image is at a URL, 'https://a/b.png'; fetch it first, as img2dataset does"),
        ("data:image/png;base64,iVBO", "its image is inside the text (data:); write it into a file and give its path"),
    ],
)
def test_images_in_messages_are_files_too(place, message, tmp_path):
    talk = [user([{"type": "image_url", "image_url": {"url": place}}]), assistant("A cat.")]
    assert refused(table(tmp_path, {"messages": talk})) == ("missing", f"{tmp_path}/some.json, row 1: {message}")


# -- what cannot be used


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        ({"image": "a.png", "conversations": TEXT}, "image without a mark", "images: 1, <image> marks: 0"),
        ({"image": ["a.png", "b.png"], "conversations": TALK}, "image without a mark", "images: 2, <image> marks: 1"),
        ({"conversations": TALK}, "mark without an image", "images: 0, <image> marks: 1"),
        ({"conversations": [human("a"), {"from": "tool", "value": "b"}]}, "unknown role", "message 2 is from 'tool'"),
        ({"conversations": [human("a"), gpt(" ")]}, "empty answer", "message 2, of the assistant, is empty"),
        ({"conversations": [human("a")]}, "no answer", "no answer of the assistant to a question"),
        (
            {"conversations": [human("a"), human("b"), gpt("c")]},
            "two messages of one role",
            "messages 1 and 2 are both of the user",
        ),
        (
            {"conversations": [human("a"), {"from": "system", "value": "b"}, gpt("c")]},
            "system message not first",
            "message 2 is of the system",
        ),
        (
            {"image": "a.png", "conversations": [human("a"), gpt("<image>")]},
            "mark outside of questions",
            "an <image> mark in a",
        ),
        (
            {"conversations": [human("a"), {"from": "gpt", "value": 3}]},
            "not a conversation",
            "message 2, of the assistant, holds int",
        ),
        ({"conversations": [human("a"), "b"]}, "not a conversation", "found str among the messages"),
        ({"conversations": []}, "no conversation", "no conversation and no caption in conversations"),
        ({"conversations": [human("a\ud800"), gpt("b")]}, "damaged", "a caption that is not valid text"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row, reason, message, tmp_path):
    path = tmp_path / "some.json"
    source = table(tmp_path, ROWS[0], {"id": "bad\nid", **row})
    assert source[0].messages == EXPECTED[0][1]
    found, text = refused(source, 1)
    assert found == reason
    assert text.startswith(f"{path}, row 2, id bad id: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "holds no rows"),
        ("[3]", "need a list of objects"),
        ("[{]", "not JSON"),
        ('[{"image": "a.png"}]', "no conversations or captions among image; need one of conversations, messages"),
        ('[{"conversations": [], "conversations": []}]', "stands twice"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(text, message, tmp_path):
    path = written(tmp_path, "some.json", text)
    with pytest.raises(ValueError, match=message) as error:
        open_dialogues(str(path))
    assert str(path) in str(error.value)
