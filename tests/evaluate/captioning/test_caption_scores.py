"""Caption scores: recorded from the reference implementation (caption_fixture.json says how), and small cases by hand."""

import json
import math
from pathlib import Path

import pytest

from genlip.evaluate.captioning.caption_scores import bleu4, cider_d, exact_match, rouge_l
from genlip.evaluate.captioning.generated import GeneratedCaption

FIXTURE = json.loads((Path(__file__).parent / "caption_fixture.json").read_text(encoding="utf8"))
CANDIDATES = [image["candidate"] for image in FIXTURE["images"]]
REFERENCES = [image["references"] for image in FIXTURE["images"]]
METRICS = [exact_match, bleu4, rouge_l, cider_d]


@pytest.mark.parametrize("metric", [bleu4, rouge_l, cider_d])
def test_scores_are_those_of_the_reference_implementation(metric):
    recorded, scores = FIXTURE["scores"][metric.__name__], metric(CANDIDATES, REFERENCES)
    assert scores.score == pytest.approx(recorded["score"], abs=1e-9)
    assert scores.per_image == pytest.approx(recorded["per_image"], abs=1e-9)


def test_the_fixture_holds_the_cases_that_it_should():
    assert "" in CANDIDATES
    assert "Cat" in CANDIDATES
    assert len(CANDIDATES) >= 12
    assert min(FIXTURE["scores"]["bleu4"]["per_image"]) < 1e-6 < 0.99 < max(FIXTURE["scores"]["bleu4"]["per_image"])


@pytest.mark.parametrize("metric", METRICS)
def test_captions_without_references_are_refused(metric):
    with pytest.raises(ValueError, match="0 captions"):
        metric([], [])
    with pytest.raises(ValueError, match="2 captions, references of 1 images"):
        metric(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="image 1 has no references"):
        metric(["a", "b"], [["a"], []])


# -- exact match


def test_a_caption_matches_to_the_letter_or_not_at_all():
    told, true = ["a cat", " a cat\n", "A cat", "a cat."], [["no", "a cat "], ["a cat"], ["a cat"], ["a cat"]]
    assert exact_match(told, true).per_image == [1, 1, 0, 0]
    pairs = zip(told, true, strict=True)
    assert [GeneratedCaption("", b"", some[-1], one).exact for one, some in pairs] == [True, True, False, False]
    assert exact_match(told, true).score == 0.5


# -- BLEU-4


def test_bleu_is_the_mean_of_four_precisions():
    scores = bleu4(["a b c d e"], [["a b c d f"]])
    assert scores.score == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, abs=1e-8)


def test_bleu_counts_a_word_as_often_as_one_reference_has_it():
    scores = bleu4(["the the the the"], [["the the", "the the the cat"]])
    assert scores.evidence.tolist() == [[4, 4, 4, 3, 2, 1, 3, 2, 1, 0]]


def test_bleu_prefers_the_shorter_of_two_equally_close_lengths():
    assert bleu4(["a b c d e"], [["a b c d e f g", "a b c"]]).score == pytest.approx(1, abs=1e-8)  # 3, not 7 words


def test_bleu_is_lower_for_captions_that_are_too_short():
    assert bleu4(["a b c d"], [["a b c d e f"]]).score == pytest.approx(math.exp(1 - 6 / 4), abs=1e-8)


def test_bleu_of_a_set_adds_counts_before_it_divides():
    scores = bleu4(["a b c d e", "x y z q"], [["a b c d e"], ["x y z r"]])
    assert scores.score == pytest.approx((8 / 9 * 6 / 7 * 4 / 5 * 2 / 3) ** 0.25, abs=1e-8)
    assert scores.per_image == pytest.approx([1, 0], abs=1e-3)


# -- ROUGE-L


def test_rouge_weighs_the_best_precision_and_the_best_recall():
    # Against the first, 3 of the caption's 4 words and 3 of 6; against the second, 2 of 4 and 2 of 2.
    scores = rouge_l(["a cat sat down"], [["a big cat sat there today", "cat down"]])
    assert scores.score == pytest.approx((1 + 1.44) * 0.75 * 1.0 / (1.0 + 1.44 * 0.75))


def test_rouge_of_nothing_is_zero_and_of_nothing_for_nothing_one():
    assert rouge_l(["", "a b", "!"], [["a b"], ["c d"], ["..."]]).per_image == [0, 0, 1]


# -- CIDEr-D


def test_cider_of_single_words_is_a_quarter_of_ten():
    assert cider_d(["red", "blue"], [["red"], ["blue"]]).per_image == pytest.approx([2.5, 2.5])  # no 2-, 3- and 4-grams


def test_cider_of_the_reference_itself_is_ten():
    assert cider_d(["a b c d", "e f g h"], [["a b c d"], ["e f g h"]]).score == pytest.approx(10)


def test_cider_clips_what_is_repeated_and_minds_the_length():
    # The vector of 1-grams is twice as long and gains nothing: 1/2; and there is one 2-gram more than in the reference.
    assert cider_d(["red red", "blue"], [["red"], ["blue"]]).per_image[0] == pytest.approx(2.5 / 2 * math.exp(-1 / 72))


def test_cider_weighs_words_by_how_few_images_have_them():
    # "a" is in all three references and weighs nothing; "dog" is in two: log(3/2); "red" in one: log(3).
    told, true = ["dog", "x", "x"], [["red a dog"], ["a dog"], ["a"]]
    red, dog = math.log(3), math.log(3 / 2)
    expected = 2.5 * dog / math.hypot(red, dog) * math.exp(-4 / 72)
    assert cider_d(told, true).per_image[0] == pytest.approx(expected)


def test_cider_is_the_mean_over_references():
    assert cider_d(["red", "blue"], [["red", "green"], ["blue"]]).per_image[0] == pytest.approx(1.25)


def test_cider_of_one_image_is_zero():
    assert cider_d(["a red dog"], [["a red dog"]]).score == 0
