"""`genlip.data.dialogues.fields`: which entries of a record are read, and every published form of messages."""

import json
from collections import Counter

import pytest

from genlip.data.dialogues import Message
from genlip.data.dialogues.fields import KNOWN_FIELDS, DialogueFields, Talk, talk_of
from genlip.data.examples import Turn, Unusable
from genlip.data.sources.fields import CaptionFields

from .helpers import assistant, gpt, human, turns, user

IMAGE, TEXT = {"type": "image"}, {"type": "text", "text": "What?"}
TALK = turns("<image>\nWhat?", "A cat.")


def read(record, fields="conversations", index=0):
    return DialogueFields(CaptionFields.parse(fields)).read(record, index)


def unusable(entry):
    with pytest.raises(Unusable) as error:
        read({"conversations": entry})
    return error.value.reason, str(error.value)


# -- forms


@pytest.mark.parametrize(
    "entry",
    [
        [human("<image>\nWhat?"), gpt("A cat.")],
        [user("<image>\nWhat?"), assistant("A cat.")],
        [user("<image>\r\nWhat?\r"), assistant(" A cat.\n")],
        [{"from": "USER", "value": "<image>\nWhat?"}, {"from": "Model", "value": "A cat."}],
        [user([IMAGE, TEXT]), assistant([{"type": "text", "text": "A cat."}])],
        [user([{"type": "image_url", "text": None}, {"text": "What?"}]), assistant("A cat.")],
        [{"from": None, "value": None, "role": "user", "content": "<image>\nWhat?"}, assistant("A cat.")],
    ],
)
def test_messages_have_marks_in_every_form(entry):
    assert read({"conversations": entry})[:2] == (TALK, "marked")
    assert read({"conversations": tuple(entry)})[:2] == (TALK, "marked")
    assert read({"conversations": json.dumps(entry)})[:2] == (TALK, "marked")
    assert read({"conversations": json.dumps({"messages": entry})})[:2] == (TALK, "marked")


@pytest.mark.parametrize(("asks", "answers"), [("user", "assistant"), ("question", "answer"), ("human", "gpt")])
def test_pairs_are_messages_in_turn(asks, answers):
    entry = [{asks: "What?", answers: "A cat.", "source": "own"}, {asks: "Why?", answers: "Because."}]
    expected = Talk(turns("What?", "A cat.", "Why?", "Because."), "pairs")
    assert read({"texts": entry}, "texts") == expected
    assert read({"texts": json.dumps(entry)}, "texts") == expected
    assert read({"texts": entry[0]}, "texts") == Talk(turns("What?", "A cat."), "pairs")


@pytest.mark.parametrize(("asks", "answers"), [("user", "assistant"), ("question", "answer"), ("human", "gpt")])
def test_a_record_may_itself_be_a_pair(asks, answers):
    record = {"image": "a.png", asks: "What?", answers: "A cat."}
    for fields in (DialogueFields().among(record, "here"), DialogueFields(CaptionFields({asks: 1.0}))):
        assert fields.names == (asks, answers)
        assert fields.read(record, 0) == Talk(turns("What?", "A cat."), "pairs")


def test_a_question_alone_is_no_pair():
    with pytest.raises(
        ValueError, match="here: no conversations or captions among question; need one of conversations, messages"
    ):
        DialogueFields().among({"question": "What?"}, "here")


def test_system_messages_are_read():
    entry = [{"from": "system", "value": " Be kind. "}, human("What?"), gpt("A cat.")]
    assert read({"conversations": entry}).messages == (Message("system", "Be kind."), *turns("What?", "A cat."))


def test_parts_keep_their_places():
    parts = [
        {"type": "text", "text": "Compare"},
        {"type": "image", "image": "a.png"},
        {"type": "text", "text": "and"},
        {"type": "image_url", "image_url": {"url": "b.png"}},
        {"type": "image", "image": {"path": "c.png", "bytes": None}},
        {"type": "image_url", "image_url": "d.png"},
        {"type": "image", "path": "e.png"},
        {"type": "image", "url": "f.png"},
        {"type": "image"},
    ]
    talk = read({"messages": [user(parts), assistant("Done.")]}, "messages")
    assert talk.messages[0].text.split("\n") == ["Compare", "<image>", "and", *["<image>"] * 6]
    assert talk.places == ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png", None)


def test_a_caption_is_an_answer_to_an_empty_question():
    assert read({"txt": " A cat.\r\nIt sleeps.\n"}, "txt") == Talk(turns("", "A cat.\nIt sleeps."), "caption")


# -- which fields


def test_conversations_come_before_captions():
    for place, name in enumerate(KNOWN_FIELDS):
        record = {"width": 3, **dict.fromkeys(reversed(KNOWN_FIELDS[place:]), ""), "answer": "", "assistant": "", "gpt": ""}
        assert DialogueFields().among(record, "here").names[0] == name


def test_named_fields_are_read_by_their_probabilities_and_always_the_same():
    record = {"caption": ["one", "two"], "conversations": [human("What?"), gpt("A cat.")]}
    found = [read(record, "caption=3,conversations=1", index).messages[1].text for index in range(4000)]
    assert [read(record, "caption=3,conversations=1", index).messages[1].text for index in range(50)] == found[:50]
    counts = Counter(found)
    assert counts.keys() == {"one", "two", "A cat."}
    assert abs(counts["A cat."] - 1000) < 120
    assert abs(counts["one"] - 1500) < 140


def test_a_field_without_text_leaves_its_chance_to_the_others():
    for index in range(20):
        assert read({"caption": "", "txt": "A cat."}, "caption=0.99,txt=0.01", index).messages[1].text == "A cat."


@pytest.mark.parametrize("entry", [None, "", " ", [], {}, 3, [None], [""]])
def test_a_record_without_a_text_has_no_conversation(entry):
    expected = ("no conversation", "no conversation and no caption in conversations")
    assert unusable(entry) == expected


# -- what cannot be read


@pytest.mark.parametrize("role", ["tool", "narrator", "", None, 3, ["human"]])
def test_an_unknown_role_is_named(role):
    expected = f"message 2 is from {role!r}; need human or user, gpt or assistant, or system"
    assert unusable([human("What?"), {"from": role, "value": "x"}]) == ("unknown role", expected)


@pytest.mark.parametrize("content", [None, 3, ["A cat."], [{"type": "video"}], [{"type": "text", "text": None}], {}])
def test_a_message_without_text_is_named(content):
    kind = type(content).__name__
    expected = f"message 2, of the assistant, holds {kind}; need text or images"
    found = [human("What?"), {"from": "gpt", "value": content}]
    assert unusable(found) == ("not a conversation", expected)


@pytest.mark.parametrize("message", ["A cat.", None, ["A cat."], 3])
def test_what_is_no_message_is_named(message):
    expected = f"found {type(message).__name__} among the messages of a conversation"
    assert unusable([human("What?"), message]) == ("not a conversation", expected)


@pytest.mark.parametrize("entry", ["half a \ud800 character", [human("a\udfff"), gpt("b")]])
def test_halves_of_characters_are_damage(entry):
    assert unusable(entry)[0] == "damaged"


# -- captions of other sources


def test_captions_and_conversations_of_a_source_become_talks():
    assert talk_of("A cat.") == Talk(turns("", "A cat."), "caption")
    asked = (Turn("What?", False), Turn("A cat.", True))
    assert talk_of(asked) == Talk(turns("What?", "A cat."), "pairs")
    assert talk_of((Turn("A cat.", True),)) == Talk(turns("", "A cat."), "pairs")
