"""The schedule against its formula, and AdamW over every parameter."""

import math

import pytest
import torch

from genlip.train.optimizer import learning_rate, make_optimizer, set_learning_rate
from genlip.train.recipe import OptimizerConfig


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    config = OptimizerConfig(learning_rate=0.4, final_learning_rate=0.1, warmup=0.2)
    rates = [learning_rate(config, step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.4])
    assert rates[9] == pytest.approx(0.1)
    for step in range(2, 10):
        assert rates[step] == pytest.approx(0.1 + 0.3 * 0.5 * (1 + math.cos(math.pi * (step - 2) / 7)))


def test_the_papers_schedule_has_the_papers_values():
    config, steps = OptimizerConfig(), 10_000
    assert max(learning_rate(config, step, steps) for step in range(steps)) == 1e-3
    assert learning_rate(config, 69, steps) == 1e-3 > learning_rate(config, 68, steps)
    assert learning_rate(config, steps - 1, steps) == pytest.approx(1e-6)


def test_a_single_step_needs_no_schedule():
    assert learning_rate(OptimizerConfig(learning_rate=0.5, warmup=0.0), 0, 1) == 0.5


def test_the_update_is_adamw_with_decay_on_every_parameter():
    """By hand, in float64, for one matrix and one bias."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    config = OptimizerConfig(learning_rate=0.01, weight_decay=0.1, beta1=0.8, beta2=0.9, eps=1e-8)
    optimizer = make_optimizer(model, config)
    expected = [p.detach().clone() for p in model.parameters()]
    mean, square = ([torch.zeros_like(p) for p in expected] for _ in range(2))
    for step in range(1, 4):
        set_learning_rate(optimizer, 0.01 * step)
        optimizer.zero_grad()
        model(torch.randn(5, 3, dtype=torch.float64)).square().sum().backward()
        for i, parameter in enumerate(model.parameters()):
            mean[i] = 0.8 * mean[i] + 0.2 * parameter.grad
            square[i] = 0.9 * square[i] + 0.1 * parameter.grad**2
            move = (mean[i] / (1 - 0.8**step)) / ((square[i] / (1 - 0.9**step)).sqrt() + 1e-8)
            expected[i] = expected[i] * (1 - 0.01 * step * 0.1) - 0.01 * step * move
        optimizer.step()
    for parameter, by_hand in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), by_hand, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0.0}, {"warmup": 1.0}, {"beta2": 1.0}, {"clip": 0.0}, {"weight_decay": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptimizerConfig(**wrong)
