"""Questions as a measurement: scores of answers that are known, controls, stops in between, and the page."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from genlip.data.dialogues.question import Question
from genlip.data.images import decode
from genlip.evaluate.comparison.compare import compare_models, paired
from genlip.evaluate.questions.measure import QuestionsConfig, measure_questions
from genlip.evaluate.questions.page import section
from genlip.evaluate.questions.scoring import NAMED
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.report.html import page

from .standin import InMemoryQuestions, Standin, coloured
from .test_asking import colour


def questions(number: int = 6) -> InMemoryQuestions:
    """Question i, about the image of colour i, has the answer i; its type is its remainder."""
    return InMemoryQuestions(
        [Question(f"q{i}", (coloured(i),), "Which <one>?", (str(i), "x"), type=f"rest {i % 2}") for i in range(number)]
    )


def without_time(result: Result) -> tuple[Any, ...]:
    scores = {name: scores.evidence.tolist() for name, scores in result.scores.items()}
    return result.identity, scores, list(result.keys), result.figures, result.outputs


BOTH = QuestionsConfig(without_images=True, other_images=True, batch_size=2)


def test_answers_are_scored_and_controls_stand_beside():
    """The model says the colour that it sees: right with the own image, wrong with another."""
    done = list[int]()
    result = measure_questions(Standin(colour), questions(), BOTH, model="m", advance=done.append)
    assert {name: scores.score for name, scores in result.scores.items()} == {
        "exact match": 1,
        "exact match without image": 0,
        "exact match with another image": 0,
        "gain over no image": 1,
        "gain over another image": 1,
    }
    assert result.identity[:2] == ("questions", "memory:1")
    assert list(result.keys) == [f"q{i}" for i in range(6)]
    assert [output["said"] for output in result.outputs] == [str(i) for i in range(6)]
    assert all(output["controls"]["without image"] == {"said": "none", "score": 0} for output in result.outputs)
    assert sum(done) == 18 == 6 * BOTH.passes


def test_controls_do_not_change_the_identity_so_that_models_compare():
    one, other = (measure_questions(Standin(colour), questions(), config, model="m") for config in (QuestionsConfig(), BOTH))
    assert one.identity == other.identity
    assert one.scores["exact match"].evidence.tolist() == other.scores["exact match"].evidence.tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "anls"},
        {"prompt_suffix": "Briefly."},
        {"max_tokens": 9},
    ],
)
def test_settings_that_change_answers_are_another_measurement(change):
    one, other = (
        measure_questions(Standin(colour), questions(), replace(QuestionsConfig(), **some)) for some in ({}, change)
    )
    assert one.identity != other.identity


def test_settings_record_how_it_was_asked():
    model = Standin(colour)
    result = measure_questions(model, questions(), QuestionsConfig(metric="relaxed"), limit=3)
    assert {
        "resize": "fixed",
        "size": 32,
        "metric": "relaxed",
        "prompt_suffix": "Answer the question with a single word.",
        "max_tokens": 16,
        "questions": 3,
    }.items() <= result.settings.items()
    assert model.decoding[0]["max_tokens"] == 16
    assert result.about["precision"] == "float32"
    other = [replace(one, answers=("other",)) for one in questions().questions]
    assert (
        measure_questions(model, InMemoryQuestions(other), QuestionsConfig(metric="relaxed"), limit=3).settings["asked"]
        != result.settings["asked"]
    )


def test_types_have_scores():
    result = measure_questions(Standin(lambda one: "4"), questions(10))
    assert result.scores["exact match: rest 0"].score == 1 / 5
    assert result.scores["exact match: rest 1"].score == 0


def test_options_are_scored_by_letter_and_the_chance_is_told():
    data = InMemoryQuestions(
        [Question(f"q{i}", (coloured(i),), "Which?", ("moon",), ("sun", "moon", "mars", "x"), 1) for i in range(4)]
    )
    said = {"q0": "B", "q1": "The answer is B", "q2": "A", "q3": "b"}
    result = measure_questions(Standin(lambda one: said[one.key]), data, QuestionsConfig(metric="letters"))
    assert result.scores["right letters"].per_image == [1, 0, 0, 1]
    assert result.scores[NAMED].per_image == [1, 1, 0, 0]
    assert result.figures["chance"] == 0.25
    assert "25.0% of the questions" in section(result).body
    assert section(result).body.count("<dt>true</dt><dd>B. moon</dd>") == 4


def test_what_cannot_be_asked_is_counted_named_and_told(caplog):
    some = list(questions().questions)
    some[1], some[4] = "no answer", replace(some[4], images=(b"none",))
    with caplog.at_level(logging.WARNING):
        result = measure_questions(Standin(colour), InMemoryQuestions(some), BOTH, advance=(done := list[int]()).append)
    assert list(result.keys) == ["q0", "q2", "q3", "q5"]
    assert result.figures["skipped"] == {"no answer": 1, "not an image": 1}
    assert "question 1: no answer" in caplog.text
    assert "2 of 6 could not be asked: 1 no answer, 1 not an image." in section(result).body
    assert sum(done) == 18


@pytest.mark.parametrize(
    ("data", "config", "limit", "message"),
    [
        (InMemoryQuestions([]), {}, 5, "memory:1: 0 questions, 5 to ask: both must be at least 1"),
        (questions(), {}, 0, "memory:1: 6 questions, 0 to ask"),
        (InMemoryQuestions(["no answer"] * 3), {}, 5, "none of 3 questions can be used (3 no answer); the log names each"),
        (questions(), {"metric": "vqa"}, 5, "none of 5 questions can be used (5 few answers)"),
        (questions(), {"metric": "letters"}, 5, "none of 5 questions can be used (5 no options)"),
        (
            InMemoryQuestions([Question("q", (b"none",), "Why?", ("x",))]),
            {},
            5,
            "none of 1 questions can be used (1 not an image)",
        ),
        (questions(1), {"other_images": True}, 5, "1 questions about the same images"),
    ],
)
def test_what_cannot_be_measured_is_refused(data, config, limit, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_questions(Standin(colour), data, QuestionsConfig(**config), limit=limit)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"metric": "vqaa"},
            "metric 'vqaa': need one of vqa, textvqa, anls, relaxed, exact, letters, scienceqa; did you mean",
        ),
        ({"max_tokens": -1}, "max_tokens -1 must be 0 or more"),
        ({"batch_size": 0}, "batch_size 0 at least 1"),
    ],
)
def test_impossible_settings_are_refused(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        QuestionsConfig(**config)


# -- stopping and resuming


class Stop(Exception):
    pass


def stop_after(number: int) -> Callable[[int], None]:
    done = 0

    def advance(questions: int) -> None:
        nonlocal done
        done += questions
        if done >= number:
            raise Stop

    return advance


@pytest.mark.parametrize("stop", [2, 6, 8, 14])
def test_resuming_equals_never_stopping(tmp_path, stop):
    """Stopped among the first answers, at their end, among those without images, and among those with others."""
    path, first, again = tmp_path / "so_far.jsonl", Standin(colour), Standin(colour)
    with pytest.raises(Stop):
        measure_questions(first, questions(), BOTH, model="m", partial=path, advance=stop_after(stop))
    result = measure_questions(again, questions(), BOTH, model="m", partial=path, advance=(done := list[int]()).append)
    asked = [one for model in (first, again) for batch in model.asked for one in batch]
    assert len(asked) == 18, "no question is asked twice"
    assert sum(done) == 18
    assert without_time(result) == without_time(measure_questions(Standin(colour), questions(), BOTH, model="m"))
    assert not path.exists()


@pytest.mark.parametrize("change", ["weights", "model", "suffix", "answers"])
def test_another_measurement_begins_anew(tmp_path, change):
    path, data, config = tmp_path / "so_far.jsonl", questions(), BOTH
    with pytest.raises(Stop):
        measure_questions(Standin(colour), data, config, model="m", partial=path, advance=stop_after(4))
    model = Standin(colour, weights="others" if change == "weights" else "some weights")
    if change == "suffix":
        config = replace(config, prompt_suffix="")
    if change == "answers":
        data = InMemoryQuestions([replace(one, answers=("other",)) for one in data.questions])
    measure_questions(model, data, config, model="other" if change == "model" else "m", partial=path)
    assert sum(map(len, model.asked)) == 18


# -- results and the page


def test_the_section_is_the_same_after_a_round_trip(tmp_path):
    result = measure_questions(Standin(colour), questions(), BOTH, model="m")
    found = read_result(write_result(result, tmp_path))
    assert section(found) == section(result)
    assert without_time(found) == without_time(result)


def test_results_of_two_models_are_compared_in_pairs(tmp_path):
    for name, say in (("one", colour), ("other", lambda one: "4")):
        write_result(measure_questions(Standin(say), questions(), model=name), tmp_path / name)
    (shared,) = compare_models([str(tmp_path / "one"), str(tmp_path / "other")]).shared
    first, second = shared.results.values()
    assert shared.measurement == "questions"
    assert paired(first, second, "exact match").difference.value == pytest.approx(1 / 6 - 1)


def test_the_section_shows_scores_questions_and_answers():
    result = measure_questions(Standin(lambda one: "<b>1</b>" if one.images else "1"), questions(10), BOTH)
    body = section(result).body
    text = re.sub(r"<[^>]*>", " ", body)
    assert re.search(r"0\.0%\s+exact match", text)
    assert re.search(r"-10\.0\s+gain over no image", text)
    for name in (*result.scores, "rest 0", "rest 1"):
        assert name.removeprefix("exact match: ") in body
    assert "&lt;b&gt;1&lt;/b&gt;" in body
    assert "Which &lt;one&gt;?" in body
    assert "<b>1</b>" not in body
    assert (body.count("✓"), body.count("✗")) == (1, 29)
    assert "“Answer the question using a single word or phrase.”" in body


def test_the_first_questions_and_the_first_wrong_ones_after_them_are_shown():
    said = ["wrong" if i in (3, 14, 17) else str(i) for i in range(20)]
    result = measure_questions(Standin(lambda one: said[int(one.key[1:])]), questions(20))
    assert list(result.figures["shown"].values()) == [*range(12), 14, 17]
    assert set(result.pictures) == set(result.figures["shown"])
    assert [decode(picture).getpixel((0, 0))[0] for picture in result.pictures.values()] == [*range(12), 14, 17]


def test_a_page_of_an_empty_answer_can_be_written():
    assert "(nothing)" in page("page", [section(measure_questions(Standin(lambda one: ""), questions(2)))])
