"""Scores: sums and means by hand, the bootstrap against a loop that scores resampled sets anew, and its coverage."""

import re

import numpy as np
import pytest

from genlip.evaluate.caption_scores import bleu4, cider_d
from genlip.evaluate.scores import Interval, Scores, require_references

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
