"""The learning-rate schedule: warm-up, cosine decay, and the values of the paper."""

import math

import pytest

from genlip.recipes.run import OptimizerConfig
from genlip.train.schedule import learning_rate


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    config = OptimizerConfig(learning_rate=0.4, final_learning_rate=0.1, warmup_ratio=0.2)
    rates = [learning_rate(config, step / 10) for step in range(1, 11)]
    assert rates[:2] == pytest.approx([0.2, 0.4])
    assert rates[9] == pytest.approx(0.1)
    for step in range(2, 11):
        assert rates[step - 1] == pytest.approx(0.1 + 0.3 * 0.5 * (1 + math.cos(math.pi * (step - 2) / 8)))


def test_the_papers_schedule_has_the_papers_values():
    config, steps = OptimizerConfig(), 10_000
    rates = [learning_rate(config, step / steps) for step in range(1, steps + 1)]
    assert max(rates) == rates[69] == 1e-3 > rates[68] > rates[67]
    assert rates[-1] == pytest.approx(1e-6)


def test_a_run_that_passes_its_end_keeps_the_final_rate():
    config = OptimizerConfig(warmup_ratio=0.0)
    assert learning_rate(config, 1.2) == learning_rate(config, 1.0) == pytest.approx(config.final_learning_rate)


def test_a_stable_rate_stays_and_falls_linearly_at_the_end():
    config = OptimizerConfig(
        learning_rate=0.4, final_learning_rate=0.1, warmup_ratio=0.2, schedule="stable", cooldown_ratio=0.4
    )
    rates = [learning_rate(config, step / 10) for step in range(1, 11)]
    assert rates == pytest.approx([0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.325, 0.25, 0.175, 0.1])
    assert learning_rate(config, 1.3) == pytest.approx(0.1)


def test_stable_runs_of_two_lengths_have_the_same_rate_until_the_shorter_one_cools_down():
    config = OptimizerConfig(schedule="stable", warmup_ratio=0.0, cooldown_ratio=0.2)
    for step in range(1, 800):
        assert learning_rate(config, step / 1000) == learning_rate(config, step / 5000) == config.learning_rate


def test_a_stable_rate_without_cooldown_never_falls():
    config = OptimizerConfig(schedule="stable", cooldown_ratio=0.0)
    assert learning_rate(config, 1.0) == config.learning_rate


def test_a_cooldown_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"cooldown_ratio 0\.9 at most what the warm-up leaves"):
        OptimizerConfig(warmup_ratio=0.2, cooldown_ratio=0.9, schedule="stable")
