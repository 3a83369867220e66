"""`genlip.data.sources.fields`: which entries of a record are captions, and how often each is read."""

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.examples import Choice, Turn, Unusable
from genlip.data.sources.fields import KNOWN_FIELDS, CaptionFields

from ..helpers import examples

WORDS = st.text("abcdé", min_size=1, max_size=8)


def human(text):
    return {"from": "human", "value": text}


def gpt(text):
    return {"from": "gpt", "value": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def read(record, fields="caption"):
    return CaptionFields.parse(fields).read(record)


def unusable(entry):
    with pytest.raises(Unusable) as error:
        read({"caption": entry})
    return error.value.reason, str(error.value)


# -- which fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" , ,", {}),
        ("caption", {"caption": 1.0}),
        ("one,two", {"one": 1.0, "two": 1.0}),
        ("re_caption=0.8,org_caption=0.2", {"re_caption": 0.8, "org_caption": 0.2}),
        (" one = 3 ,\ttwo=1e-3,", {"one": 3.0, "two": 0.001}),
        ("long caption=2,txt", {"long caption": 2.0, "txt": 1.0}),
    ],
)
def test_fields_are_names_with_chances(text, expected):
    fields = CaptionFields.parse(text)
    assert fields == CaptionFields(expected)
    assert list(fields.chances) == list(expected)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one=half,two", "'half' is not a number; write field=0.8,other=0.2"),
        ("one=", "'' is not a number; write field=0.8,other=0.2"),
        ("one=1=2", "'1=2' is not a number; write field=0.8,other=0.2"),
        ("one,two,one=2", "'one' is named twice"),
        ("one,=0.5", "'' is no name"),
    ],
)
def test_fields_that_cannot_be_read_are_refused(text, found):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the message is compared
        CaptionFields.parse(text)
    assert str(error.value) == f"caption fields {text!r}: {found}"


@pytest.mark.parametrize("chance", ["0", "-1", "nan", "inf", "-inf"])
def test_chances_are_positive_and_finite(chance):
    found = {"one": 1.0, "two": float(chance)}
    with pytest.raises(ValueError) as error:  # noqa: PT011, the message is compared
        CaptionFields.parse(f"one,two={chance}")
    assert str(error.value) == f"caption fields {found}: every weight must be above 0 and finite"


def test_without_names_the_first_known_field_is_read():
    for place, name in enumerate(KNOWN_FIELDS):
        found = ["width", *reversed(KNOWN_FIELDS[place:]), "url"]
        assert CaptionFields.parse("").among(iter(found), "here") == CaptionFields({name: 1.0})


def test_named_fields_stay_as_soon_as_one_is_there():
    fields = CaptionFields.parse("one=0.8,two=0.2")
    for found in (["one"], ["caption", "two"], {"two": "", "one": ""}):
        assert fields.among(found, "here") is fields


@pytest.mark.parametrize(
    ("fields", "found", "expected"),
    [
        ("", ["label", "url"], f"here: no captions among label, url; need one of {', '.join(KNOWN_FIELDS)}"),
        ("", [], f"here: no captions, and no field that could hold any; need one of {', '.join(KNOWN_FIELDS)}"),
        ("one=0.8,two=0.2", ["caption"], "here: no captions among caption; need one of one, two"),
    ],
)
def test_a_collection_without_the_fields_is_refused(fields, found, expected):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the message is compared
        CaptionFields.parse(fields).among(found, "here")
    assert str(error.value) == expected


# -- texts and lists


@pytest.mark.parametrize("entry", ["a cat", "  a cat\n", ["a cat"], ("\ta cat",), ["", "a cat", None, 3, " "]])
def test_one_caption_is_a_stripped_text(entry):
    assert read({"caption": entry, "other": "no"}) == "a cat"


@pytest.mark.parametrize(
    "entry", ["", " \n", None, 3, 4.5, True, [], ["", " "], [None], {}, {"caption": "a"}, b"a", [["a"]]]
)
def test_a_record_without_a_caption_has_an_empty_one(entry):
    assert read({"caption": entry}) == read({}) == ""
    assert read({"caption": entry, "other": "a cat"}, "caption=0.9,other=0.1") == Choice(("a cat",), (1.0,), ("other",))


def test_fields_keep_their_chances_in_their_own_order():
    record = {"two": "b", "one": "a", "three": "c"}
    assert read(record, "one=3,three=1") == Choice(("a", "c"), (0.75, 0.25), ("one", "three"))
    assert read(record, "three=1,two=1,one=2") == Choice(("c", "b", "a"), (0.25, 0.25, 0.5), ("three", "two", "one"))


def test_a_missing_field_leaves_its_chance_to_the_others():
    for missing in (None, "", []):
        record = {"one": "a", "two": missing, "three": "c"}
        expected = Choice(("a", "c"), (pytest.approx(0.2), pytest.approx(0.8)), ("one", "three"))
        assert read(record, "one=0.1,two=0.5,three=0.4") == expected


def test_a_list_shares_the_chance_of_its_field():
    record = {"one": "a", "two": ["b", "", "c", "d", "e"]}
    assert read(record, "one=1,two=3") == Choice(("a", "b", "c", "d", "e"), (0.25, *[0.1875] * 4), ("one", *["two"] * 4))
    assert read(record, "two") == Choice(("b", "c", "d", "e"), (0.25,) * 4, ("two",) * 4)


@given(
    record=st.dictionaries(st.sampled_from("abcd"), WORDS | st.lists(WORDS, max_size=4), max_size=4),
    weights=st.dictionaries(st.sampled_from("abcd"), st.floats(1e-3, 1e3), min_size=1),
)
@examples(200)
def test_chances_against_a_slow_count(record, weights):
    texts = {field: [record[field]] if isinstance(record[field], str) else record[field] for field in record}
    there = {field: weight for field, weight in weights.items() if texts.get(field)}
    expected = [
        (text, weight / sum(there.values()) / len(texts[field]), field)
        for field, weight in there.items()
        for text in texts[field]
    ]
    caption = CaptionFields(weights).read(record)
    if not expected or len(expected) == len(weights) == 1:
        assert caption == (expected[0][0] if expected else "")
        return
    assert isinstance(caption, Choice)
    assert (caption.captions, caption.fields) == (
        tuple(text for text, *_ in expected),
        tuple(field for *_, field in expected),
    )
    assert caption.chances == pytest.approx([chance for _, chance, _ in expected], rel=1e-12)
    assert math.fsum(caption.chances) == pytest.approx(1, abs=1e-12)


# -- conversations


@pytest.mark.parametrize(("asks", "says"), [(human, gpt), (user, assistant), (human, assistant), (user, gpt)])
def test_a_conversation_is_its_turns_of_which_the_assistants_are_learned(asks, says):
    entry = [asks("What is it?"), says(" A cat.\n"), asks("And its colour?"), says("Black.")]
    expected = (Turn("What is it?", False), Turn("A cat.", True), Turn("And its colour?", False), Turn("Black.", True))
    assert read({"caption": entry}) == read({"caption": tuple(entry)}) == expected


@pytest.mark.parametrize("text", ["<image>\nWhat?", "What?\n<image>", " <image> What?", "What?<image>", "What?"])
def test_the_mark_of_the_image_is_taken_out(text):
    assert read({"caption": [human(text), gpt("A cat.")]}) == (Turn("What?", False), Turn("A cat.", True))


def test_a_question_that_is_only_the_image_stays_as_an_empty_one():
    assert read({"caption": [human("<image>"), gpt("A cat.")]}) == (Turn("", False), Turn("A cat.", True))


@pytest.mark.parametrize("system", [{"from": "system", "value": "Be kind."}, {"role": "system", "content": None}])
def test_system_messages_are_left_out_wherever_they_stand(system):
    expected = (Turn("What?", False), Turn("A cat.", True))
    assert read({"caption": [system, human("<image>What?"), system, gpt("A cat.")]}) == expected


def test_an_answer_alone_is_a_conversation():
    assert read({"caption": [gpt("A cat.")]}) == (Turn("A cat.", True),)


@pytest.mark.parametrize(
    "entry", [[human("What?")], [human("What?"), gpt(" ")], [human("What?"), gpt("<image>")], [{"from": "system"}]]
)
def test_a_conversation_without_an_answer_is_no_caption(entry):
    assert read({"caption": entry}) == ""


@pytest.mark.parametrize(
    ("entry", "number"),
    [
        ([human("<image><image>Which?"), gpt("The first.")], 2),
        ([human("<image>What?"), gpt("A cat."), human("<image><image>And these?"), gpt("Dogs.")], 3),
    ],
)
def test_a_conversation_about_several_images_is_unusable(entry, number):
    assert unusable(entry) == ("several images", f"a conversation about {number} images; a sample holds one")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"from": "narrator", "value": "Once"}, "message from 'narrator' with str"),
        ({"from": "human"}, "message from 'human' with NoneType"),
        ({"from": "gpt", "value": ["A cat."]}, "message from 'gpt' with list"),
        ({"role": "user", "content": [{"type": "video"}]}, "message from 'user' with list"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "message from 'user' with list"),
        ({"user": "What?", "assistant": None}, "message from 'assistant' with NoneType"),
        ({"value": "What?"}, "message from None with str"),
        ({"from": ["human"], "value": "What?"}, "message from ['human'] with str"),
        ({}, "message from None with NoneType"),
    ],
)
def test_messages_that_are_none_are_named(message, found):
    expected = ("not a conversation", f"{found}; need human or gpt, and text")
    assert unusable([message]) == unusable([human("What?"), gpt("A cat."), message]) == expected


@pytest.mark.parametrize(("message", "kind"), [("A cat.", "str"), (None, "NoneType"), (["A cat."], "list")])
def test_what_is_no_message_is_named(message, kind):
    assert unusable([human("What?"), message]) == (
        "not a conversation",
        f"found {kind} among the messages of a conversation",
    )


def test_a_conversation_is_one_choice_beside_texts():
    talk = [user("<image>What?"), assistant("A cat.")]
    turns = (Turn("What?", False), Turn("A cat.", True))
    record = {"conversations": talk, "caption": ["one", "two"]}
    assert read(record, "conversations=1,caption=1") == Choice(
        (turns, "one", "two"), (0.5, 0.25, 0.25), ("conversations", "caption", "caption")
    )


def test_an_unusable_example_survives_pickling():
    error = pickle.loads(pickle.dumps(Unusable("several images", "a.json: two")))
    assert (type(error), error.reason, str(error)) == (Unusable, "several images", "a.json: two")


@pytest.mark.parametrize("entry", ["half a \ud800 character", ["whole", "\udfff"], [{"from": "gpt", "value": "a\ud800"}]])
def test_halves_of_characters_are_damage_and_no_mistake_of_ours(entry):
    with pytest.raises(Unusable, match="a caption that is not valid text") as error:
        CaptionFields({"caption": 1.0}).read({"caption": entry})
    assert error.value.reason == "damaged"


# -- other forms in which conversations are published

TALK = (Turn("What?", False), Turn("A cat.", True))


@pytest.mark.parametrize(
    "entry",
    [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}, assistant("A cat.")],
        [user([{"type": "image", "text": None}, {"type": "text", "text": "What?"}]), assistant([{"text": "A cat."}])],
        [user({"type": "text", "text": "What?"}), assistant("A cat.")],
        [{"user": "What?", "assistant": "A cat.", "source": "own"}],
        {"user": "What?", "assistant": "A cat."},
        [{"question": "What?", "answer": "A cat."}],
        [{"from": "USER", "value": "What?"}, {"from": "Assistant", "value": "A cat."}],
        [{"from": None, "value": None, "role": "user", "content": "What?"}, assistant("A cat.")],
        [[user("What?"), assistant("A cat.")]],
    ],
)
def test_every_published_form_is_one_conversation(entry):
    assert read({"caption": entry}) == TALK
    assert read({"caption": json.dumps(entry)}) == TALK  # also as a text
    if isinstance(entry, list):
        assert read({"caption": json.dumps({"id": 1, "conversations": entry})}) == TALK


def test_pairs_are_turns_one_after_another_and_lists_of_them_a_choice():
    pairs = [{"user": "What?", "assistant": "A cat."}, {"user": "Where?", "assistant": "Here."}]
    more = (Turn("Where?", False), Turn("Here.", True))
    assert read({"caption": pairs}) == (*TALK, *more)
    assert read({"caption": [pairs[:1], pairs[1:]]}) == Choice((TALK, more), (0.5, 0.5), ("caption", "caption"))


def test_parts_of_a_message_are_its_paragraphs_and_its_images_are_counted():
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert read({"caption": [assistant(parts)]}) == (Turn("One.\nTwo.", True),)
    several = [user([{"type": "image"}, {"type": "image_url", "image_url": "x"}]), assistant("A cat.")]
    assert unusable(several) == ("several images", "a conversation about 2 images; a sample holds one")


@pytest.mark.parametrize(
    "text", ["[a cat]", "{a cat}", '["a", "b"]', "[]", "{}", '[{"x": 1}]', '{"caption": "a"}', "[" * 100_000, "[1, 2]", "{"]
)
def test_a_caption_with_brackets_stays_a_caption(text):
    assert read({"caption": text}) == text
