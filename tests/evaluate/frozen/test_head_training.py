"""Fitting: what is held out, and what standard features are, against NumPy; the course of rates is tested with the sweep."""

import numpy as np
import pytest
import torch

from genlip.evaluate.frozen.head_training import Standard, number_held_out, share_of_peak, split_for_validation


@pytest.mark.parametrize(("images", "share", "held"), [(100, 0.07, 7), (14, 0.1, 1), (3, 0.1, 1), (9, 0, 0), (1, 0, 0)])
def test_images_are_learned_from_or_held_out_and_never_both(images: int, share: float, held: int) -> None:
    learn, hold = split_for_validation(images, share, seed=4)
    assert sorted([*learn.tolist(), *hold.tolist()]) == list(range(images))
    assert len(hold) == held == number_held_out(images, share)


def test_what_is_held_out_is_drawn_by_the_seed() -> None:
    held = [sorted(split_for_validation(50, 0.2, seed)[1].tolist()) for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


def test_standard_features_have_mean_0_and_deviation_1_in_each_channel() -> None:
    rows = np.random.default_rng(0).normal(3, [0.01, 1, 40, 0], (50, 4)).astype(np.float32)
    found = Standard.of(torch.from_numpy(rows).split([7, 1, 42])).of_rows(torch.from_numpy(rows))
    exact = (rows - rows.mean(axis=0, dtype=np.float64)) / np.where(
        rows.std(axis=0) > 0, rows.std(axis=0, dtype=np.float64), 1
    )
    np.testing.assert_allclose(found[:, :3], exact[:, :3], rtol=1e-3, atol=1e-3)
    assert not found[:, 3].any(), "a constant channel becomes 0"


@pytest.mark.parametrize("steps", [1, 2, 3, 19, 20, 400])
def test_every_step_has_a_rate_above_0_and_the_peak_is_the_rate(steps: int) -> None:
    shares = [share_of_peak(step, steps) for step in range(steps)]
    assert min(shares) > 0
    assert max(shares) == (1 if steps > 1 else 0.5)
