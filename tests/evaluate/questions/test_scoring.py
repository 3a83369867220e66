"""Scoring: scores, differences and types against sums by hand."""

import numpy as np
import pytest

from genlip.data.dialogues.question import Question
from genlip.evaluate.questions.answers.metrics import METRICS
from genlip.evaluate.questions.scoring import (
    NAMED,
    OTHER_IMAGE,
    WITHOUT_IMAGE,
    chance,
    common_types,
    output_of,
    question_scores,
)

EXACT = METRICS["exact"]


def outputs(own, without):
    """Outputs of questions whose answer is "yes", with own answers and those without image; None where it was skipped."""
    questions = [Question(f"q{i}", (), "Why?", ("yes",), type="ab"[i % 2]) for i in range(len(own))]
    entries = [{"skipped": "too long"} if said is None else {"said": said, "image": ""} for said in without]
    found = [output_of(q, s, {WITHOUT_IMAGE: e}, EXACT) for q, s, e in zip(questions, own, entries, strict=True)]
    return questions, found


def test_an_output_holds_what_was_said_and_how_it_scores():
    question = Question("q", (), "Which?", ("moon",), ("sun", "moon"), 1, "easy")
    controls = {WITHOUT_IMAGE: {"said": "A", "image": ""}, OTHER_IMAGE: {"skipped": "too long"}}
    assert output_of(question, "B\n\nsince it is", controls, METRICS["letters"]) == {
        "key": "q",
        "question": "Which?",
        "answers": ["moon"],
        "options": ["sun", "moon"],
        "right": 1,
        "type": "easy",
        "said": "B\n\nsince it is",
        "score": 1.0,
        "controls": {WITHOUT_IMAGE: {"said": "A", "score": 0.0}},
    }


def test_gains_are_over_the_questions_that_both_could_be_asked():
    own, without = ["yes", "no", "yes", "yes"], ["yes", "no", "no", None]
    scores = question_scores(*outputs(own, without), EXACT, [WITHOUT_IMAGE])
    assert list(scores) == ["exact match", "exact match without image", "gain over no image"]
    assert scores["exact match"].score == 3 / 4
    assert scores["exact match without image"].score == 1 / 3
    assert scores["gain over no image"].score == pytest.approx(2 / 3 - 1 / 3)


def test_the_interval_of_a_gain_is_paired():
    """Where both answers are right on the same questions, the gain is 0 in every resample."""
    own = ["yes", "no"] * 10
    scores = question_scores(*outputs(own, own), EXACT, [WITHOUT_IMAGE])
    assert scores["gain over no image"].interval() == (0, 0)
    assert np.ptp(scores["exact match without image"].interval()) > 0.1


def test_types_are_means_of_their_own_questions():
    own = ["yes", "no", "yes", "no", "no", "no", "yes", "no", "yes", "yes"]
    scores = question_scores(*outputs(own, [None] * 10), EXACT, [])
    assert scores["exact match: a"].score == 4 / 5
    assert scores["exact match: b"].score == 1 / 5


def test_rare_types_have_no_score():
    kinds = ["a"] * 9 + ["b"] * 5 + ["c"] * 4 + [""] * 20
    assert common_types([{"type": kind} for kind in kinds]) == ["a", "b"]
    assert common_types([{"type": "a"}] * 9) == []
    assert len(common_types([{"type": str(number % 30)} for number in range(300)])) == 12


def test_letters_are_also_found_anywhere():
    questions = [Question(f"q{i}", (), "Which?", ("moon",), ("sun", "moon", "x", "y"), 1) for i in range(2)]
    found = [output_of(one, said, {}, METRICS["letters"]) for one, said in zip(questions, ["B.", "It is B"], strict=True)]
    scores = question_scores(questions, found, METRICS["letters"], [])
    assert (scores["right letters"].score, scores[NAMED].score) == (0.5, 1)
    assert chance([*questions, Question("q", (), "", ("a",), ("a", "b"), 0)]) == pytest.approx((0.25 + 0.25 + 0.5) / 3)
