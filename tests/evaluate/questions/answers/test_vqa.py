"""VQA accuracy: every planted answer as lmms-eval scores it, and the rules on answers whose score is known."""

import pytest

from genlip.evaluate.questions.answers.vqa import textvqa_accuracy, textvqa_words, vqa_accuracy, vqa_words
from tests.evaluate.questions.recorded import recorded


@pytest.mark.parametrize(
    ("name", "accuracy", "words"), [("vqa", vqa_accuracy, vqa_words), ("textvqa", textvqa_accuracy, textvqa_words)]
)
def test_all_planted_answers_score_as_recorded(name, accuracy, words):
    rows = recorded(name)
    assert [words(said) for said, *_ in rows] == [compared for *_, compared in rows]
    assert [accuracy(said, answers) for said, answers, *_ in rows] == [score for _, _, score, _ in rows]


@pytest.mark.parametrize(("people", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_each_person_is_left_out_once(people, score):
    assert vqa_accuracy("red", ["red"] * people + ["blue"] * (10 - people)) == pytest.approx(score)


def test_a_single_person_agrees_with_nobody():
    assert vqa_accuracy("red", ["red"]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The two lights dont!", "2 lights don't"),
        ("red-green", "red green"),
        ("red-green -", "redgreen"),
        ("red-green 1,000", "redgreen 1000"),
        ("1.5 e.g. none", "1.5 eg 0"),
    ],
)
def test_words_are_made_alike(text, words):
    assert vqa_words(text) == words


def test_textvqa_parts_a_possessive():
    assert textvqa_words("John's, isnt") == "john 's isn't"
