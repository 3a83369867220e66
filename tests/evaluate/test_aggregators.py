"""Formulas: cases worked by hand, and what adding rows means for them."""

import math

import numpy as np
import pytest

from genlip.evaluate.aggregators import AGGREGATORS, bleu, error_rate, mean_iou, ratio, ratio_difference


def of(*evidence: float) -> np.ndarray:
    return np.array(evidence, dtype=np.float64)


def test_a_ratio_is_of_sums_and_nothing_counted_is_no_score():
    assert ratio(of(3, 4)) == 0.75
    assert ratio(of(1, 2) + of(3, 4)) == 4 / 6
    assert math.isnan(ratio(of(0, 0)))


def test_a_difference_of_ratios_needs_both():
    assert ratio_difference(of(3, 4, 1, 2)) == 0.25
    assert ratio_difference(of(1, 1, 0, 1) + of(0, 3, 1, 1)) == pytest.approx(1 / 4 - 1 / 2)
    assert math.isnan(ratio_difference(of(1, 1, 0, 0)))
    assert math.isnan(ratio_difference(of(0, 0, 1, 1)))


def test_an_error_rate_may_pass_1_and_counts_an_empty_text_as_one_long():
    assert error_rate(of(1, 4)) == 0.25
    assert error_rate(of(6, 4)) == 1.5
    assert error_rate(of(3, 0)) == 3
    assert error_rate(of(0, 0)) == 0


def test_bleu_is_a_geometric_mean_times_a_penalty_for_brevity():
    precisions = (4 / 5) * (3 / 4) * (2 / 3) * (1 / 2)
    assert bleu(of(5, 5, 5, 4, 3, 2, 4, 3, 2, 1)) == pytest.approx(precisions**0.25, abs=1e-8)
    assert bleu(of(5, 10, 5, 4, 3, 2, 5, 4, 3, 2)) == pytest.approx(math.exp(1 - 10 / 5), abs=1e-8)
    assert bleu(of(10, 5, 10, 9, 8, 7, 10, 9, 8, 7)) == pytest.approx(1, abs=1e-8)
    assert bleu(of(5, 5, 5, 4, 3, 2, 4, 2, 1, 0)) < 1e-3


def test_mean_iou_is_over_classes_that_occur():
    assert mean_iou(of(2, 0, 3, 4, 0, 3)) == (2 / 4 + 3 / 3) / 2
    assert mean_iou(of(0, 5)) == 0
    assert mean_iou(of(1, 0, 2, 1) + of(1, 0, 2, 1)) == (2 / 4 + 0 / 2) / 2
    assert math.isnan(mean_iou(of(0, 0, 0, 0)))


def test_only_these_can_be_stored():
    assert set(AGGREGATORS.values()) >= {ratio, ratio_difference, error_rate, bleu, mean_iou}
