"""`genlip.data.dialogues.parquet`: rows in the forms of the Hub, against the tables that were written."""

import json
import multiprocessing
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genlip.data.dialogues import open_dialogues
from genlip.data.examples import Unusable
from genlip.data.sources import open_source

from ..sources.far import register
from .helpers import gpt, human, refused, turns

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MESSAGES = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
PAIRS = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())]))
PARTS = pa.list_(pa.struct([("index", pa.int64()), ("text", pa.string()), ("type", pa.string())]))
CHATS = pa.list_(pa.struct([("content", PARTS), ("role", pa.string())]))
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


def written(path, rows, schema, **how):
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(schema.items()))), path, **how)
    return str(path)


def image(data):
    return {"bytes": data, "path": None}


def read(path, fields=""):
    return [(one.key, one.images, one.messages) for one in open_dialogues(path, fields)]


def test_llava_onevision_is_read_as_it_was_written(tmp_path):
    """One image or none in a row."""
    rows = [
        {"id": "a", "image": image(b"1"), "conversations": [human("<image>\nWhat?"), gpt("A cat.")], "data_source": "own"},
        {"id": "b", "image": None, "conversations": [human("Two and two?"), gpt("Four.")], "data_source": "own"},
        {"id": "c", "image": image(None), "conversations": [human("Three?"), gpt("Yes.")], "data_source": "own"},
        {
            "id": "d",
            "image": image(b"2"),
            "conversations": [human("What?<image>"), gpt("A dog."), human("Why?"), gpt("So.")],
        },
    ]
    schema = {"id": pa.string(), "image": IMAGE, "conversations": MESSAGES, "data_source": pa.string()}
    path = written(tmp_path / "a.parquet", rows, schema, row_group_size=2)
    assert read(path) == [
        ("a.parquet:0", (b"1",), turns("<image>\nWhat?", "A cat.")),
        ("a.parquet:1", (), turns("Two and two?", "Four.")),
        ("a.parquet:2", (), turns("Three?", "Yes.")),
        ("a.parquet:3", (b"2",), turns("<image>\nWhat?", "A dog.", "Why?", "So.")),
    ]


@pytest.mark.parametrize("kind", [IMAGE, pa.struct([("bytes", pa.large_binary())]), pa.binary()])
@pytest.mark.parametrize("many", [pa.list_, pa.large_list])
def test_the_cauldron_is_read_as_it_was_written(kind, many, tmp_path):
    """Lists of images, and pairs without marks."""
    held = (lambda data: data) if kind == pa.binary() else lambda data: {"bytes": data}
    rows = [
        {"images": [held(b"1")], "texts": [{"user": "What?", "assistant": "A cat.", "source": "own"}] * 2},
        {"images": [held(b"2"), held(b"3")], "texts": [{"user": "Which?", "assistant": "Both.", "source": "own"}]},
        {"images": [], "texts": [{"user": "Two and two?", "assistant": "Four."}]},
        {"images": None, "texts": [{"user": "Two and two?", "assistant": "Four."}]},
    ]
    assert read(written(tmp_path / "a.parquet", rows, {"images": many(kind), "texts": PAIRS})) == [
        ("a.parquet:0", (b"1",), turns("<image>\nWhat?", "A cat.", "What?", "A cat.")),
        ("a.parquet:1", (b"2", b"3"), turns("<image>\n<image>\nWhich?", "Both.")),
        ("a.parquet:2", (), turns("Two and two?", "Four.")),
        ("a.parquet:3", (), turns("Two and two?", "Four.")),
    ]


def test_messages_of_parts_are_read_as_they_were_written(tmp_path):
    parts = [{"index": 0, "text": None, "type": "image"}, {"index": None, "text": "What?", "type": "text"}]
    rows = [
        {
            "messages": [
                {"content": parts, "role": "user"},
                {"content": [{"index": None, "text": "A cat.", "type": "text"}], "role": "assistant"},
            ],
            "images": [image(b"1")],
        }
    ]
    path = written(tmp_path / "a.parquet", rows, {"messages": CHATS, "images": pa.list_(IMAGE)})
    assert read(path) == [("a.parquet:0", (b"1",), turns("<image>\nWhat?", "A cat."))]


def test_files_without_images_are_text_alone(tmp_path):
    rows = [{"conversations": [human(f"{number}?"), gpt("Yes.")], "n": number} for number in range(3)]
    path = written(tmp_path / "a.parquet", rows, {"conversations": MESSAGES, "n": pa.int64()})
    assert read(path) == [(f"a.parquet:{number}", (), turns(f"{number}?", "Yes.")) for number in range(3)]
    with pytest.raises(ValueError, match="no image column among"):
        open_source(path)


@pytest.mark.parametrize("name", ["image", "images", "image_path"])
def test_images_that_are_not_in_the_file_are_refused(name, tmp_path):
    rows = [{"conversations": [human("<image>?"), gpt("Yes.")], name: "a.png"}]
    path = written(tmp_path / "a.parquet", rows, {"conversations": MESSAGES, name: pa.string()})
    with pytest.raises(ValueError, match=f"no image column among conversations .*, {name}"):
        open_dialogues(path)


def test_conversations_may_be_json_and_questions_columns(tmp_path):
    talk = json.dumps([human("<image>What?"), gpt("A cat.")])
    rows = [{"image": image(b"1"), "conversations": talk, "question": "Why?", "answer": "So.", "caption": "A tom."}]
    schema = {"image": IMAGE, **dict.fromkeys(("conversations", "question", "answer", "caption"), pa.string())}
    path = written(tmp_path / "a.parquet", rows, schema)
    for fields, messages in {
        "": turns("<image>\nWhat?", "A cat."),
        "question": turns("<image>\nWhy?", "So."),
        "caption": turns("<image>", "A tom."),
    }.items():
        assert read(path, fields) == [("a.parquet:0", (b"1",), messages)]
    del rows[0]["conversations"], rows[0]["caption"], schema["conversations"], schema["caption"]
    assert read(written(tmp_path / "b.parquet", rows, schema)) == [("b.parquet:0", (b"1",), turns("<image>\nWhy?", "So."))]


def test_fields_are_read_by_their_probabilities(tmp_path):
    rows = [{"image": image(b"1"), "a": "one", "b": ["two", "three"]}] * 300
    path = written(tmp_path / "a.parquet", rows, {"image": IMAGE, "a": pa.string(), "b": pa.list_(pa.string())})
    source = open_dialogues(path, "a=1,b=3")
    said = [source[index].messages[1].text for index in range(300)]
    assert [open_dialogues(path, "a=1,b=3")[index].messages[1].text for index in range(300)] == said
    assert all(40 < said.count(text) - extra < 115 for text, extra in (("one", 0), ("two", 25), ("three", 25)))


def test_captioned_rows_are_the_same_as_before(tmp_path):
    rows = [{"image": image(bytes([number])), "caption": f"number {number}"} for number in range(9)]
    path = written(tmp_path / "a.parquet", rows, {"image": IMAGE, "caption": pa.string()})
    captioned = [(key, (data,), turns("<image>", caption)) for key, data, caption in open_source(path)]
    assert read(path) == captioned


def test_copies_forks_and_remote_files_read_the_same(tmp_path, monkeypatch):
    register(monkeypatch, tmp_path)
    for part in range(3):
        rows = [
            {
                "images": [image(bytes([part, place])) for place in range(row % 3)],
                "texts": [{"user": f"{row}?", "assistant": "So."}],
            }
            for row in range(part * 4)
        ]
        written(tmp_path / f"{part}.parquet", rows, {"images": pa.list_(IMAGE), "texts": PAIRS}, row_group_size=3)
    source = open_dialogues(str(tmp_path / "*.parquet"))
    expected = [
        (f"{part}.parquet:{row}", tuple(bytes([part, place]) for place in range(row % 3)))
        for part in range(3)
        for row in range(part * 4)
    ]
    assert [(one.key, one.images) for one in source] == expected
    assert (
        list(pickle.loads(pickle.dumps(source)))
        == list(source)
        == list(open_dialogues(f"far://{tmp_path}/{{0..2}}.parquet"))
    )
    with FORK.Pool(2) as pool:
        assert pool.map(source.__getitem__, range(12)) == list(source)
    for outside in (-1, 12):
        with pytest.raises(IndexError):
            source[outside]


# -- what cannot be used


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        (
            {"images": [image(b"1")], "conversations": [human("a"), gpt("b")]},
            "image without a mark",
            "images: 1, <image> marks: 0",
        ),
        (
            {"images": [], "conversations": [human("<image>"), gpt("b")]},
            "mark without an image",
            "images: 0, <image> marks: 1",
        ),
        (
            {"images": [image(b"1"), None], "conversations": [human("<image><image>"), gpt("b")]},
            "missing",
            "no image in 'images'",
        ),
        ({"images": [], "conversations": [human("a"), gpt("")]}, "empty answer", "message 2, of the assistant, is empty"),
        ({"images": [], "conversations": [{"from": "tool", "value": "a"}]}, "unknown role", "message 1 is from 'tool'"),
        (
            {"images": [], "conversations": [human("a"), gpt(None)]},
            "not a conversation",
            "message 2, of the assistant, holds NoneType",
        ),
        ({"images": [], "conversations": []}, "no conversation", "no conversation and no caption in conversations"),
        ({"images": [], "conversations": None}, "no conversation", "no conversation and no caption in conversations"),
        (
            {"images": [{"path": "../a.png"}], "conversations": [human("<image>"), gpt("b")]},
            "missing",
            "its image, '../a.png', is not",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row, reason, message, tmp_path):
    sound = {"images": [image(b"1")], "conversations": [human("<image>"), gpt("b")]}
    source = open_dialogues(
        written(tmp_path / "a.parquet", [sound, row], {"images": pa.list_(IMAGE), "conversations": MESSAGES})
    )
    assert source[0].messages == turns("<image>", "b")
    found, text = refused(source, 1)
    assert found == reason
    assert text.startswith(f"a.parquet:1: {message}")


def test_images_beside_the_file_are_paths(tmp_path):
    rows = [{"images": [{"path": "deep/a.png"}, {"path": "b.png"}], "texts": [{"user": "What?", "assistant": "So."}]}]
    (one,) = open_dialogues(written(tmp_path / "a.parquet", rows, {"images": pa.list_(IMAGE), "texts": PAIRS}))
    assert one.images == (tmp_path / "deep/a.png", tmp_path / "b.png")


def test_files_with_other_columns_are_refused(tmp_path):
    rows = [{"conversations": [human("a"), gpt("b")]}]
    written(tmp_path / "0.parquet", rows, {"conversations": MESSAGES})
    written(tmp_path / "1.parquet", rows, {"conversations": MESSAGES, "image": IMAGE})
    with pytest.raises(ValueError, match=r"1.parquet: its columns differ from those of .*0.parquet"):
        open_dialogues(str(tmp_path / "*.parquet"))


@pytest.mark.parametrize("seed", range(6))
def test_damaged_pages_make_rows_unusable_and_nothing_else(seed, tmp_path):
    rows = [
        {"images": [image(bytes([number]) * 50)], "texts": [{"user": f"{number}?", "assistant": "So."}]}
        for number in range(40)
    ]
    path = tmp_path / "a.parquet"
    written(path, rows, {"images": pa.list_(IMAGE), "texts": PAIRS}, row_group_size=10)
    pages = pq.read_metadata(path).row_group(3).column(0).dictionary_page_offset  # behind three row groups
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(4, pages, 30):
        data[place] = rng.integers(256)
    path.write_bytes(data)
    source, sound = open_dialogues(str(path)), 0
    for index in range(40):
        try:
            sound += bool(source[index].messages)
        except Unusable as error:
            assert str(error).startswith(f"a.parquet:{index}: ")  # noqa: PT017
    assert sound < 40
    assert all(source[index].messages for index in range(30, 40))
