"""Question: its letter, and its form."""

import pytest

from genlip.data.dialogues.question import Question, question_form


def test_the_letter_is_that_of_the_right_option():
    assert Question("q", (), "Which?", ("c",), ("a", "b", "c"), 2).letter == "C"
    with pytest.raises(ValueError, match="q: a question without options has no letter"):
        Question("q", (), "Which?", ("c",)).letter  # noqa: B018


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("What is the value for Jan of Coast?", "What is the value …"),
        ("What is the title of the chart?", "What is the title …"),
        ("Is the box By post ticked?", "Is the box …"),
        ("In the row Amir Shaw, what is under Town?", "In the row …"),
        ("What is item 12?", "What is item …"),
        ("Who is the customer?", "Who is the customer?"),
        ("Why?", "Why?"),
        ("", ""),
    ],
)
def test_the_form_is_the_first_words_up_to_a_name_or_number(question, form):
    assert question_form(question) == form
