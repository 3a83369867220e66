"""`genlip.data.dialogues.arranging`: marks and roles, by hand."""

import pickle

import pytest

from genlip.data.dialogues import Dialogue, Message
from genlip.data.dialogues.arranging import arranged
from genlip.data.dialogues.fields import Talk
from genlip.data.examples import Unusable

from .helpers import turns


def said(*texts, system=None):
    first = () if system is None else (Message("system", system),)
    return (*first, *turns(*texts))


def read(messages, images=0, form="marked"):
    dialogue = arranged("here", [f"{number}.png" for number in range(images)], Talk(tuple(messages), form))
    assert dialogue == Dialogue("here", tuple(f"{number}.png" for number in range(images)), dialogue.messages)
    return dialogue.messages


def refused(messages, images=0, form="marked"):
    with pytest.raises(Unusable) as error:
        read(messages, images, form)
    assert str(error.value).startswith("here: ")
    assert "\n" not in str(error.value)
    assert pickle.loads(pickle.dumps(error.value)).reason == error.value.reason
    return error.value.reason, str(error.value).removeprefix("here: ")


# -- marks


@pytest.mark.parametrize(
    "text", ["What?<image>", "What?\n<image>", "<image>\nWhat?", "<image>What?", " <image> What? ", "What?\n<image>\n"]
)
def test_a_single_mark_moves_to_the_front(text):
    assert read(said(text, "A cat."), 1) == said("<image>\nWhat?", "A cat.")


def test_a_single_mark_moves_within_its_own_question():
    messages = said("Hello", "Hi.", "What is it? <image>", "A cat.", system="Be kind.")
    assert read(messages, 1) == said("Hello", "Hi.", "<image>\nWhat is it?", "A cat.", system="Be kind.")


def test_a_question_may_be_the_image_alone():
    assert read(said("<image>", "A cat."), 1) == said("<image>", "A cat.")


@pytest.mark.parametrize(
    "messages",
    [
        said("Which is larger, <image> or <image>?", "The first."),
        said("What? <image>", "A cat.", "And this? <image>", "A dog."),
        said("<image><image>\nWhat differs?", "Nothing."),
    ],
)
def test_several_marks_stay_where_they_are(messages):
    assert read(messages, 2) == messages


def test_text_alone_stays_as_it_is():
    messages = said("Two and two?", "Four.", system="Be brief.")
    assert read(messages) == messages


@pytest.mark.parametrize("images", [0, 1, 2, 3])
def test_pairs_without_marks_are_about_all_images(images):
    expected = said("\n".join(["<image>"] * images + ["What?"]), "A cat.", "Why?", "Because.")
    assert read(said("What?", "A cat.", "Why?", "Because."), images, "pairs") == expected


def test_pairs_with_marks_keep_them():
    messages = said("What is in <image>?", "A cat.", "And in <image>?", "A dog.")
    assert read(messages, 2, "pairs") == messages
    assert refused(messages, 1, "pairs")[0] == "mark without an image"


@pytest.mark.parametrize("images", [1, 2])
def test_a_caption_is_the_answer_to_its_images(images):
    assert read(said("", "A cat."), images, "caption") == said("\n".join(["<image>"] * images), "A cat.")


def test_a_caption_needs_an_image():
    assert refused(said("", "A cat."), 0, "caption") == ("no image", "a caption without an image")


@pytest.mark.parametrize(
    ("texts", "images", "reason"),
    [
        (("What?", "A cat."), 1, "image without a mark"),
        (("What? <image>", "A cat."), 2, "image without a mark"),
        (("What? <image>", "A cat."), 0, "mark without an image"),
        (("<image> or <image>?", "A cat."), 1, "mark without an image"),
        (("In HTML?", "Write <image>."), 0, "mark without an image"),
    ],
)
def test_marks_and_images_must_agree(texts, images, reason):
    marks = sum(text.count("<image>") for text in texts)
    expected = (reason, f"images: {images}, <image> marks: {marks}; need one mark for each image")
    assert refused(said(*texts), images) == expected


@pytest.mark.parametrize(
    ("messages", "role"),
    [
        (said("What?", "<image> A cat."), "assistant"),
        (said("What?", "A cat.", system="Look at <image>."), "system"),
    ],
)
@pytest.mark.parametrize("form", ["marked", "pairs"])
def test_marks_belong_into_questions(messages, role, form):
    expected = f"an <image> mark in a message of the {role}; need it in questions"
    assert refused(messages, 1, form) == ("mark outside of questions", expected)


# -- who speaks


def test_a_first_message_of_the_assistant_is_dropped():
    assert read([Message("assistant", "Welcome."), *said("What?", "A cat.")]) == said("What?", "A cat.")
    opened = [Message("system", "Be kind."), Message("assistant", "Welcome."), *said("What?", "A cat.")]
    assert read(opened) == said("What?", "A cat.", system="Be kind.")


def test_an_unanswered_question_at_the_end_is_dropped():
    assert read(said("What?", "A cat.", "Why?")) == said("What?", "A cat.")


def test_unless_it_has_an_image():
    expected = ("no answer", "no answer of the assistant to its last question, which has an image")
    assert refused(said("<image>What?", "A cat.", "<image>And this?"), 2) == expected
    assert refused(said("<image>What?"), 1) == expected


def test_an_empty_system_message_is_dropped():
    assert read(said("What?", "A cat.", system="")) == said("What?", "A cat.")


@pytest.mark.parametrize("messages", [(), said("What?"), said(system="Be kind."), [Message("assistant", "A cat.")]])
def test_a_dialogue_needs_an_answer(messages):
    assert refused(messages) == ("no answer", "no answer of the assistant to a question")


@pytest.mark.parametrize(
    ("messages", "number"),
    [
        ([*said("What?", "A cat."), Message("system", "Stop.")], 3),
        ([Message("user", "What?"), Message("system", ""), Message("assistant", "A cat.")], 2),
        ([Message("system", "One."), Message("system", "Two."), *said("What?", "A cat.")], 2),
    ],
)
def test_a_system_message_may_only_be_the_first(messages, number):
    expected = f"message {number} is of the system; it may only be the first"
    assert refused(messages) == ("system message not first", expected)


@pytest.mark.parametrize(
    ("roles", "places", "role"),
    [
        ("uua", "1 and 2", "user"),
        ("uaa", "2 and 3", "assistant"),
        ("suauua", "4 and 5", "user"),
        ("aaua", "1 and 2", "assistant"),
        ("saaua", "2 and 3", "assistant"),
        ("uauu", "3 and 4", "user"),
    ],
)
def test_two_messages_of_one_role_are_refused(roles, places, role):
    names = {"u": "user", "a": "assistant", "s": "system"}
    messages = [Message(names[letter], f"text {place}") for place, letter in enumerate(roles)]
    assert refused(messages) == ("two messages of one role", f"messages {places} are both of the {role}")


@pytest.mark.parametrize("texts", [("What?", ""), ("What?", "A cat.", "Why?", "")])
def test_an_empty_answer_is_refused(texts):
    assert refused(said(*texts)) == ("empty answer", f"message {len(texts)}, of the assistant, is empty")
