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
