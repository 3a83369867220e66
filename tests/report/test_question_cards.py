"""Question cards: answers are marked by their score, and texts are escaped and cut."""

import pytest
from PIL import Image

from genlip.report.question_cards import GivenAnswer, QuestionCard, question_gallery

IMAGE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(("score", "mark"), [(1.0, "✓"), (0.0, "✗"), (0.6, "60%")])
def test_an_answer_is_marked_by_its_score(score, mark):
    markup = question_gallery([QuestionCard(IMAGE, "Why?", [], ["x"], [GivenAnswer("", "y", score)])])
    assert f">{mark}</span> y" in markup
    assert sum(other in markup for other in ("✓", "✗", "60%")) == 1


def test_all_that_is_known_is_shown():
    given = [GivenAnswer("", "red", 1), GivenAnswer("no image", " ", 0)]
    markup = question_gallery([QuestionCard(IMAGE, "Which <b>?", ["A. one", "B. two"], ["red", "reddish"], given)])
    assert "<b>Which &lt;b&gt;?</b>" in markup
    assert "<li>A. one</li><li>B. two</li>" in markup
    assert "<dt>true</dt><dd>red · reddish</dd>" in markup
    assert '<dt>answer</dt><dd><span class="right">✓</span> red</dd>' in markup
    assert "<dt>no image</dt>" in markup
    assert "(nothing)" in markup


def test_a_long_answer_is_cut_and_its_tooltip_has_all():
    markup = question_gallery([QuestionCard(IMAGE, "Why?", [], ["x"], [GivenAnswer("", "ab " * 500, 0)])])
    assert f'title="{"ab " * 500}"' in markup
    assert "ab…" in markup
