"""Scores: sums and means by hand, the bootstrap against a loop that scores resampled sets anew, and its coverage."""

import re

import numpy as np
import pytest

from genlip.evaluate.captioning.caption_scores import bleu4, cider_d
from genlip.evaluate.scores import Difference, Interval, Scores, difference, require_references

CANDIDATES = [
    "a red dog runs on grass",
    "two cats",
    "a bus in the rain today",
    "the small blue square is here",
    "five trees",
]
REFERENCES = [
    ["a red dog runs on green grass", "the dog"],
    ["two cats sleep", "two cats"],
    ["a bus in the rain", "the red bus"],
    ["the small square is here"],
    ["a forest", "ten tall trees", "five trees and a forest"],
]


def share(evidence: np.ndarray) -> float:
    return float(evidence[0] / evidence[1])


def percentile(values: list[float], place: float) -> float:
    """Linear between the two values around the place."""
    values, at = sorted(values), place * (len(values) - 1)
    below = int(at)
    return values[below] + (at - below) * (values[min(below + 1, len(values) - 1)] - values[below])


def test_the_score_of_a_set_divides_sums_and_those_of_images_their_own_rows():
    scores = Scores(np.array([[1.0, 2.0], [3.0, 3.0], [0.0, 5.0]]), share)
    assert scores.score == pytest.approx(4 / 10)
    assert scores.per_image == [0.5, 1.0, 0.0]


def test_a_mean_is_one():
    scores = Scores.mean([0.25, 1.0, 0.5])
    assert scores.score == pytest.approx(1.75 / 3)
    assert scores.per_image == [0.25, 1.0, 0.5]


def resampled_texts(resamples: int, seed: int) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(len(CANDIDATES), size=len(CANDIDATES)).tolist() for _ in range(resamples)]


def test_the_interval_of_bleu_is_that_of_resampled_sets_scored_anew():
    anew = [
        bleu4([CANDIDATES[i] for i in drawn], [REFERENCES[i] for i in drawn]).score for drawn in resampled_texts(150, seed=3)
    ]
    low, high = bleu4(CANDIDATES, REFERENCES).interval(level=0.8, resamples=150, seed=3)
    assert low == pytest.approx(percentile(anew, 0.1), abs=1e-12)
    assert high == pytest.approx(percentile(anew, 0.9), abs=1e-12)
    assert low < high


def test_the_interval_of_cider_keeps_the_document_frequencies():
    scores = cider_d(CANDIDATES, REFERENCES)
    kept, anew = [], []
    for drawn in resampled_texts(100, seed=0):
        kept.append(sum(scores.per_image[i] for i in drawn) / len(drawn))
        anew.append(cider_d([CANDIDATES[i] for i in drawn], [REFERENCES[i] for i in drawn]).score)
    low, high = scores.interval(resamples=100)
    assert (low, high) == pytest.approx((percentile(kept, 0.025), percentile(kept, 0.975)), abs=1e-12)
    assert abs(low - percentile(anew, 0.025)) > 0.01


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    draw, covered = np.random.default_rng(7), 0
    for trial in range(300):
        low, high = Scores.mean(draw.exponential(2.0, size=80)).interval(level=0.9, resamples=200, seed=trial)
        covered += low <= 2.0 <= high
    assert 0.83 <= covered / 300 <= 0.94  # 0.9, less a little as the bootstrap is narrow for small sets; chance is 0.017


def test_the_seed_fixes_the_interval_and_a_constant_has_none():
    scores = bleu4(CANDIDATES, REFERENCES)
    assert scores.interval(seed=1) == scores.interval(seed=1) != scores.interval(seed=2)
    assert Scores.mean([0.5, 0.5, 0.5]).interval() == Interval(0.5, 0.5)


@pytest.mark.parametrize(("level", "resamples"), [(0.0, 10), (1.0, 10), (0.95, 0)])
def test_impossible_intervals_are_refused(level, resamples):
    with pytest.raises(ValueError, match="need 0 < level < 1 and at least 1 resample"):
        Scores.mean([1.0]).interval(level, resamples)


def test_a_difference_is_that_of_the_whole_sets_and_of_sets_resampled_alike():
    first, second = bleu4(CANDIDATES, REFERENCES), bleu4(REFERENCES[0] + CANDIDATES[2:], REFERENCES)
    anew = [
        float(np.subtract(*(scores.aggregator(scores.evidence[drawn].sum(axis=0)) for scores in (second, first))))
        for drawn in resampled_texts(150, seed=3)
    ]
    found = difference(first, second, level=0.8, resamples=150, seed=3)
    assert found.value == second.score - first.score
    assert (found.low, found.high) == pytest.approx((percentile(anew, 0.1), percentile(anew, 0.9)), abs=1e-12)


def test_pairing_takes_out_what_is_hard_for_both():
    hard = np.random.default_rng(0).normal(size=200)
    found = difference(Scores.mean(hard), Scores.mean(hard + 0.01))
    assert found == pytest.approx((0.01, 0.01, 0.01))
    assert found.beyond_noise
    assert Scores.mean(hard).interval().high - Scores.mean(hard).score > 0.1


@pytest.mark.parametrize(
    ("low", "high", "beyond"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.2, False), (0.0, 0.2, False)]
)
def test_a_difference_is_beyond_noise_where_its_interval_leaves_out_0(low, high, beyond):
    assert Difference((low + high) / 2, low, high).beyond_noise is beyond


def test_an_interval_holds_no_difference_about_as_often_as_it_says():
    draw, beyond = np.random.default_rng(5), 0
    for trial in range(300):
        first, second = draw.normal(size=(2, 80)) + draw.normal(size=80)
        beyond += difference(Scores.mean(first), Scores.mean(second), 0.9, 200, trial).beyond_noise
    assert 0.05 <= beyond / 300 <= 0.17  # 0.1, and a little more as the bootstrap is narrow; chance is 0.017


def test_resamples_with_nothing_to_count_are_left_out():
    rare = Scores(np.array([[1.0, 1.0], [0.0, 0.0]]), lambda row: float(row[0] / row[1]) if row[1] else float("nan"))
    assert rare.interval() == Interval(1, 1)
    assert np.isnan(Scores(np.zeros((2, 2)), rare.aggregator).interval().low)


def test_a_difference_needs_the_same_images():
    with pytest.raises(ValueError, match="scores of 1 and of 2 images: a paired difference needs the same ones"):
        difference(Scores.mean([1]), Scores.mean([1, 2]))


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "0 captions to score: need at least 1"),
        (["a"], [["a"], ["b"]], "1 captions, references of 2 images: give both for the same images"),
        (["a", "b"], [["a"], []], "image 1 has no references: give at least 1, or leave the image out"),
        (["a"], ["a cat"], "the references of image 0 are one text, 'a cat': give a list of texts"),
    ],
)
def test_what_cannot_be_scored_is_refused(candidates, references, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        require_references(candidates, references)
