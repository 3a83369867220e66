"""The schedule against its formula, and AdamW over every parameter."""

import pytest
import torch

from genlip.recipes.recipe import OptimizerConfig
from genlip.train.optimizer import check_groups, make_optimizers, set_learning_rate
from genlip.train.task import ParameterGroup
from tests.model.helpers import small_model

from .helpers import optimizers_of


def adamw_by_hand(parameter, gradients, rates, config):
    """Float64 AdamW, written out."""
    mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
    for step, (grad, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = config.beta1 * mean + (1 - config.beta1) * grad
        square = config.beta2 * square + (1 - config.beta2) * grad**2
        move = (mean / (1 - config.beta1**step)) / ((square / (1 - config.beta2**step)).sqrt() + config.eps)
        parameter = parameter * (1 - rate * config.weight_decay) - rate * move
    return parameter


def train_on_noise(config, rates):
    """Parameters before and after a few updates with given gradients."""
    model = small_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(len(rates), *p.shape, generator=generator).double() for name, p in before.items()}
    optimizers = optimizers_of(model, config)
    for step, rate in enumerate(rates):
        set_learning_rate(optimizers, rate)
        for name, parameter in model.named_parameters():
            parameter.grad = noise[name][step]
        for optimizer in optimizers:
            optimizer.step()
    return before, noise, {name: p.detach() for name, p in model.named_parameters()}


def test_the_update_is_adamw_with_decay_on_every_parameter():
    config, rates = OptimizerConfig(weight_decay=0.1, beta1=0.8, beta2=0.9), (0.01, 0.02, 0.03)
    before, noise, after = train_on_noise(config, rates)
    for name, parameter in after.items():
        by_hand = adamw_by_hand(before[name], noise[name], rates, config)
        torch.testing.assert_close(parameter, by_hand, rtol=1e-9, atol=1e-12)


def test_muon_moves_the_trunks_matrices_by_nearly_orthogonal_steps_of_adamws_size():
    config = OptimizerConfig(kind="muon", learning_rate=0.01, weight_decay=0.0)
    before, noise, after = train_on_noise(config, (0.01,))
    for name, parameter in after.items():
        move = (parameter - before[name]) / -0.01
        if move.dim() == 2 and name.startswith("visual."):
            singular = torch.linalg.svdvals(move) / (0.2 * max(move.shape) ** 0.5)
            assert 0.4 < float(singular.min()) <= float(singular.max()) < 1.3, name
        else:
            by_hand = adamw_by_hand(before[name], noise[name], (0.01,), config)
            torch.testing.assert_close(parameter, by_hand, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0.0}, {"warmup_ratio": 1.0}, {"beta2": 1.0}, {"max_grad_norm": 0.0}, {"weight_decay": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptimizerConfig(**wrong)


def test_each_group_has_the_schedules_rate_times_its_scale():
    """Plain AdamW steps, one per group, with the scaled rates; Muon takes its matrices out of both groups."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64)) for _ in range(3)]
    before, noise = [p.detach().clone() for p in weights], torch.randn(2, 4, 3, generator=generator).double()
    config = OptimizerConfig(weight_decay=0.1)
    optimizers = make_optimizers([ParameterGroup(weights[:2]), ParameterGroup(weights[2:], 0.1)], (), config)
    for step, rate in enumerate((0.01, 0.02)):
        set_learning_rate(optimizers, rate)
        for parameter in weights:
            parameter.grad = noise[step].clone()
        for optimizer in optimizers:
            optimizer.step()
    for parameter, first, scale in zip(weights, before, (1, 1, 0.1), strict=True):
        by_hand = adamw_by_hand(first, noise, (0.01 * scale, 0.02 * scale), config)
        torch.testing.assert_close(parameter.detach(), by_hand, rtol=1e-9, atol=1e-12)
    groups = [ParameterGroup(weights[:2]), ParameterGroup(weights[2:], 0.1)]
    adamw, muon = make_optimizers(groups, [weights[0], weights[2]], OptimizerConfig(kind="muon"))
    set_learning_rate([adamw, muon], 1.0)
    assert [[id(p) for p in group["params"]] for group in adamw.param_groups] == [[id(weights[1])]]
    assert [(id(group["params"][0]), group["lr"]) for group in muon.param_groups] == [
        (id(weights[0]), 1.0),
        (id(weights[2]), 0.1),
    ]


def test_every_trained_parameter_lies_in_exactly_one_group():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model[1].bias.requires_grad_(False)
    trained = [model[0].weight, model[0].bias, model[1].weight]
    check_groups(model, [ParameterGroup(trained[:1]), ParameterGroup(trained[1:], 0.1)])
    for groups, message in (
        ([trained[:2]], r"in no group: 1\.weight; every parameter"),
        ([trained, trained[1:2]], r"in several groups, or several times in one: 0\.bias; "),
        ([[*trained, trained[0]]], r"in several groups, or several times in one: 0\.weight; "),
        ([[*trained, model[1].bias]], r"in a group, but not trained: 1\.bias; "),
    ):
        with pytest.raises(ValueError, match=message):
            check_groups(model, [ParameterGroup(group) for group in groups])
