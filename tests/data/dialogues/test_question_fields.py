"""Question fields: the published forms of answers and options, and what is wrong with others."""

import logging
import re

import pytest

from genlip.data.dialogues.question import Question
from genlip.data.dialogues.question_fields import QuestionFields
from genlip.data.examples import Unusable


def read(record, others=()):
    """The question of a record, of a set with others."""
    fields = QuestionFields.among(record, "set").with_form([record, *others], "set")
    return fields.read(record, "q")


def answers(**record):
    return read({"question": "Why?", **record}).answers


def test_each_published_form_of_answers_is_read():
    people = [{"answer": f"a{i % 2}", "answer_confidence": "yes", "answer_id": i} for i in range(10)]
    assert answers(answer="red") == ("red",)
    assert answers(answers=["red", "Red"]) == ("red", "Red")
    assert answers(answers=people) == ("a0", "a1") * 5
    assert answers(answers='["red", "blue"]') == ("red", "blue")
    assert answers(answers="red") == ("red",)
    assert answers(answer="[1]") == ("[1]",), "a list in a text is that of several answers only under `answers`"
    assert answers(answer=5) == ("5",)
    assert answers(answer=0.25) == ("0.25",)
    assert answers(answers=None, answer="red") == ("red",)
    assert answers(answers=["", "red"]) == ("", "red"), "somebody may have said nothing"


def test_spaces_stay_as_they_are():
    assert answers(answer=" red ") == (" red ",)


def choice(answer, options, **more):
    question = read({"question": "Which?", "options": options, "answer": answer, **more})
    return question.right, question.answers, question.options


@pytest.mark.parametrize(
    ("answer", "right"),
    [(1, 1), ("1", 1), ("B", 1), ("b", 1), ("(B)", 1), ("B.", 1), ("moon", 1), (" moon ", 1), (0, 0), ("A", 0)],
)
def test_the_right_option_may_be_a_number_a_letter_or_a_text(answer, right):
    assert choice(answer, ["sun", "moon", "mars"]) == (right, (["sun", "moon"][right],), ("sun", "moon", "mars"))


def test_options_may_be_a_list_a_text_or_fields():
    options = ("sun", "moon")
    for stored in (["sun", "moon"], '["sun", "moon"]', "sun|moon"):
        assert choice("B", stored)[2] == options
    assert read({"question": "Which?", "choices": ["sun", "moon"], "answer": 1}).options == options
    lettered = {"question": "Which?", "A": "sun", "B": "moon", "C": None, "D": "", "answer": "B"}
    assert (read(lettered).options, read(lettered).letter) == (options, "B")
    named = {"question": "Which?", "choice_A": "sun", "choice_B": "moon", "answer": "A"}
    assert (read(named).options, read(named).letter) == (options, "A")


def test_numbers_as_options_are_told_from_numbers_of_options():
    """ "2" is the third option if all answers of the set are numbers of options, and the text if not."""
    one = {"question": "How many?", "options": ["2", "1", "0"], "answer": "2"}
    assert read(one, [{**one, "answer": "3", "options": ["3", "4", "5"]}]).right == 0
    assert read(one, [{**one, "answer": "0", "options": ["3", "4", "5"]}]).right == 2


def test_an_answer_that_may_be_two_options_is_said_to_be_so(caplog):
    record = {"question": "Which?", "options": ["1", "0"], "answer": "1"}
    with caplog.at_level(logging.WARNING):
        assert read(record).right == 1
    assert "set: answers may be the number or the text of an option; read as its number" in caplog.text


def test_letters_of_options_that_are_letters_in_order_are_no_doubt(caplog):
    with caplog.at_level(logging.WARNING):
        assert choice("B", ["A", "B", "C"])[0] == 1
    assert caplog.text == ""


def test_hint_type_and_name_are_read():
    record = {"question": "Why?", "answer": "x", "hint": "It rains.", "type": "human", "id": 7}
    assert read(record) == Question("q", (), "Context: It rains.\nWhy?", ("x",), type="human")
    assert QuestionFields.among(record, "set").key(record) == "7"
    for name in ("kind", "question_type"):
        assert read({"question": "Why?", "answer": "x", name: "human"}).type == "human"
    assert read({"query": "Why?", "answer": "x", "hint": "", "type": None}) == Question("q", (), "Why?", ("x",))


@pytest.mark.parametrize(
    ("record", "reason", "message"),
    [
        ({"answer": None}, "no answer", "q: no answer"),
        ({"answer": " "}, "no answer", "q: no answer"),
        ({"answers": []}, "no answer", "q: no answer"),
        ({"answers": ["", " "]}, "no answer", "q: no answer"),
        ({"answer": True}, "not a text", "q: answer is True; need a text"),
        ({"answer": {"text": "red"}}, "no answer", "q: no answer"),
        ({"answer": "x", "question": None}, "no question", "q: no question"),
        ({"answer": "x", "question": 3.5j}, "not a text", "q: question is 3.5j; need a text"),
        ({"answer": "\ud800"}, "damaged", "q: answer is not valid text"),
        ({"answer": "4", "options": ["a", "b"]}, "not an option", "q: the answer '4' is not the"),
        ({"answers": ["a", "b"], "options": ["a", "b"]}, "several answers", "q: 2 answers to a question with options"),
        ({"answer": "a", "options": ["x"] * 27}, "too many options", "q: 27 options; the most is 26"),
        ({"answer": "a", "options": {"A": "a"}}, "not options", "q: options is {'A': 'a'}; need a list of texts"),
        ({"answer": "same", "options": ["same", "same"]}, "not an option", "q: the answer 'same' is not the"),
        ({"answer": "A", "options": [None, "b"]}, "not a text", "q: option is None; need a text"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_reason(record, reason, message):
    with pytest.raises(Unusable, match=re.escape(message)) as error:
        read({"question": "Why?", **record})
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["image", "answer"], "set: no question among image, answer; need a field named question or query"),
        (["question", "image"], "set: no answer among question, image; need a field named answers or answer"),
        ([], "set: no question among no fields"),
    ],
)
def test_a_set_without_questions_or_answers_is_refused(found, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        QuestionFields.among(found, "set")
