"""Asking: what a model is shown and asked, what is skipped, and what is not asked again."""

import logging

import numpy as np
import pytest

from genlip.data.dialogues.dialogue import Dialogue, Message
from genlip.data.dialogues.question import Question
from genlip.data.examples import Unusable
from genlip.evaluate.partial_results import PartialResults
from genlip.evaluate.questions.answers.metrics import METRICS
from genlip.evaluate.questions.asking import (
    NONE,
    OTHER,
    OWN,
    AnswerEntry,
    Asking,
    ask,
    dialogue_of,
    first_paragraph,
    image_digest,
)
from tests.data.helpers import encoded

from .standin import InMemoryQuestions, Standin, coloured

ASKING = Asking(METRICS["exact"], "Be brief.", 7, 2)
DATA = InMemoryQuestions([Question(f"q{i}", (coloured(i),), f"Which is {i}?", (str(i),)) for i in range(5)])


def colour(dialogue: Dialogue) -> str:
    """The number of the image that is shown; "none" without one."""
    return ",".join(str(int(np.asarray(image)[0, 0, 0])) for image in dialogue.images) or "none"


def text(question: Question, asking: Asking = ASKING) -> str:
    dialogue = dialogue_of(question, asking)
    assert [message.role for message in dialogue.messages] == ["user"]
    assert dialogue.images == question.images
    return dialogue.messages[0].text


def test_a_question_is_asked_as_lmms_eval_asks_it():
    """Texts as `ai2d_doc_to_text` and `textvqa_doc_to_text` of lmms-eval 0.7.3 make them, after the mark of the image."""
    question = Question("q", (coloured(1),), "which Planet?", ("Mars",), ("the Sun", "Mars"), 1)
    letters = METRICS["letters"]
    assert text(question, Asking(letters, letters.suffix, 16, 8)) == (
        "<image>\nwhich Planet?\nA. the Sun\nB. Mars\nAnswer with the option's letter from the given choices directly."
    )
    assert text(question, Asking(METRICS["textvqa"], "Briefly.", 16, 8)) == "<image>\nWhich planet?\nBriefly."
    assert text(question, Asking(METRICS["exact"], "", 16, 8)) == "<image>\nwhich Planet?"


@pytest.mark.parametrize(
    ("images", "asked", "expected"),
    [
        (0, "Why?", "Why?\nBe brief."),
        (2, "Why?", "<image>\n<image>\nWhy?\nBe brief."),
        (1, "In <image>, why?", "In <image>, why?\nBe brief."),
        (2, "In <image>, why?", "<image>\n<image>\nIn , why?\nBe brief."),
        (0, "<image>\nWhy?", "Why?\nBe brief."),
    ],
)
def test_there_are_as_many_marks_as_images(images, asked, expected):
    assert text(Question("q", (coloured(1),) * images, asked, ("x",))) == expected


def test_each_question_is_shown_the_images_it_is_to_be_shown():
    model, found, done = Standin(colour), PartialResults(None, {}), list[int]()
    own = ask(model, DATA, [(i, i) for i in range(5)], OWN, ASKING, found, done.append)
    assert [own[i]["said"] for i in range(5)] == ["0", "1", "2", "3", "4"]
    none = ask(model, DATA, [(1, None)], NONE, ASKING, found, done.append)
    other = ask(model, DATA, [(1, 3), (0, 4)], OTHER, ASKING, found, done.append)
    assert (none[1]["said"], other[1]["said"], other[0]["said"]) == ("none", "3", "4")
    assert model.keys == [["q0", "q1"], ["q2", "q3"], ["q4"], ["q1"], ["q1", "q0"]]
    assert model.asked[4][0].messages == (Message("user", "<image>\nWhich is 1?\nBe brief."),)
    assert model.asked[3][0].messages == (Message("user", "Which is 1?\nBe brief."),)
    assert all(asked == {"batch_size": 2, "max_tokens": 7} for asked in model.decoding)
    assert done == [2, 2, 1, 1, 2]
    assert len({own[i]["image"] for i in range(5)}) == 5


def test_what_was_answered_is_not_asked_again(tmp_path):
    path, purpose = tmp_path / "so_far.jsonl", {"of": 1}
    first = PartialResults(path, purpose, AnswerEntry)
    whole = ask(Standin(colour), DATA, [(0, 0), (1, 1)], OWN, ASKING, first)
    ask(Standin(colour), DATA, [(0, 1)], OTHER, ASKING, first)
    model, done, again = Standin(colour), list[int](), PartialResults(path, purpose, AnswerEntry)
    found = ask(model, DATA, [(0, 0), (1, 1), (2, 2)], OWN, ASKING, again, done.append)
    assert model.keys == [["q2"]]
    assert done == [2, 1]
    assert found == whole | {2: found[2]}
    assert ask(model, DATA, [(0, 1)], OTHER, ASKING, again)[0]["said"] == "1"
    assert model.keys == [["q2"]]


def test_a_damaged_image_is_skipped_and_named(caplog):
    damaged = InMemoryQuestions(
        [DATA.questions[0], Question("q1", (b"none",), "Why?", ("x",)), "no answer", DATA.questions[3]]
    )
    model = Standin(colour)
    with caplog.at_level(logging.WARNING):
        found = ask(model, damaged, [(i, i) for i in range(4)], OWN, ASKING, PartialResults(None, {}))
    assert [entry.get("said") for entry in found.values()] == ["0", None, None, "3"]
    assert [found[i]["skipped"] for i in (1, 2)] == ["not an image", "no answer"]
    assert "question 2: no answer" in caplog.text
    assert model.keys == [["q0"], ["q3"]]


def test_a_dialogue_that_the_model_refuses_does_not_cost_the_others(caplog):
    def say(dialogue: Dialogue) -> str:
        if dialogue.key == "q1":
            raise Unusable("too long", "9 tokens; at most 8")
        return colour(dialogue)

    with caplog.at_level(logging.WARNING):
        found = ask(Standin(say), DATA, [(i, i) for i in range(4)], OWN, ASKING, PartialResults(None, {}))
    assert [entry.get("said") for entry in found.values()] == ["0", None, "2", "3"]
    assert found[1] == {"skipped": "too long"}
    assert "skipped q1: 9 tokens; at most 8" in caplog.text


def test_errors_of_the_program_are_not_swallowed():
    def say(dialogue: Dialogue) -> str:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        ask(Standin(say), DATA, [(0, 0)], OWN, ASKING, PartialResults(None, {}))


@pytest.mark.parametrize(
    ("said", "scored"), [(" red \n", "red"), ("red\n\nBecause it is.", "red"), ("a\nb", "a\nb"), ("", "")]
)
def test_an_answer_ends_at_an_empty_line(said, scored):
    assert first_paragraph(said) == scored


def test_digests_tell_images_apart():
    one = encoded(coloured(1), "PNG")
    several = [(one,), (encoded(coloured(2), "PNG"),), (coloured(1),), (coloured(2),), ("a.png",), ("b.png",), (one, one)]
    assert len({image_digest(images) for images in several}) == len(several)
    assert image_digest((coloured(1),)) == image_digest((coloured(1),))
