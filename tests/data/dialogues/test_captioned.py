"""`genlip.data.dialogues.captioned`: captions and conversations of captioned sources, as dialogues."""

import pickle
from collections import Counter

import pytest

from genlip.data.dialogues.captioned import Captioned
from genlip.data.examples import Choice, Example, Turn
from genlip.data.sources import notes_of, open_source

from ..helpers import InMemory
from .helpers import refused, turns


def source(*captions):
    return Captioned(
        InMemory([Example(f"key {place}", b"image", caption) for place, caption in enumerate(captions)], "some")
    )


def test_a_caption_is_what_the_assistant_says_of_the_image():
    dialogues = pickle.loads(pickle.dumps(source("A cat.", "A dog.\r\nIt barks.")))
    assert (dialogues.name, len(dialogues)) == ("some", 2)
    assert [one.key for one in (dialogues[0], dialogues[1])] == ["key 0", "key 1"]
    assert dialogues[0].images == (b"image",)
    assert dialogues[0].messages == turns("<image>", "A cat.")
    assert dialogues[1].messages == turns("<image>", "A dog.\nIt barks.")


def test_a_conversation_is_about_its_image():
    talk = (Turn("What?", False), Turn("A cat.", True), Turn("Why?", False), Turn("Because.", True))
    assert source(talk)[0].messages == turns("<image>\nWhat?", "A cat.", "Why?", "Because.")
    assert source((Turn("A cat.", True),))[0].messages == turns("<image>", "A cat.")


def test_one_of_several_captions_is_taken_by_its_probability():
    dialogues = source(*[Choice(("one", "two"), (0.75, 0.25))] * 2000)
    said = [dialogues[index].messages[1].text for index in range(2000)]
    assert [dialogues[index].messages[1].text for index in range(50)] == said[:50]
    assert abs(Counter(said)["one"] - 1500) < 100


def test_what_cannot_be_used_is_named():
    assert refused(source("")) == ("no conversation", "key 0: no conversation and no caption")
    assert refused(source((Turn("What?", False), Turn("", True)))) == (
        "empty answer",
        "key 0: message 2, of the assistant, is empty",
    )


@pytest.mark.parametrize("fields", ["caption", "conversations"])
def test_the_captions_are_those_of_the_source(fields):
    captioned = open_source("scenes:3", fields)
    dialogues = Captioned(captioned)
    for index in range(5):
        example, messages = captioned[index], dialogues[index].messages
        texts = [text for _, text in messages]
        if fields == "caption":
            assert texts == ["<image>", example.caption]
        else:
            assert texts == [f"<image>\n{example.caption[0].text}", *(turn.text for turn in example.caption[1:])]
        assert dialogues[index].images[0].tobytes() == example.image.tobytes()


def test_notes_of_the_source_are_kept(tmp_path):
    for name in ("a.png", "a.txt", "b.png"):
        (tmp_path / name).write_text("a cat")
    (note,) = notes_of(Captioned(open_source(str(tmp_path))))
    assert "1 of 2 images have no caption" in note
