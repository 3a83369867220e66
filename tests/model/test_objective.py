"""`genlip.model.objective` against a plain softmax over one token at a time."""

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from genlip.model import objective
from genlip.model.objective import caption_loss, caption_losses
from genlip.model.pack import Pack

from .helpers import EXACT, examples, random_samples, seeds, small_model


def random_problem(tokens: int, width: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden Float64[t E], head Float64[V E], token_ids Int64[t], supervised Bool[t]."""
    generator = torch.Generator().manual_seed(seed)
    hidden, head = (torch.randn(n, width, dtype=torch.float64, generator=generator) for n in (tokens, vocabulary))
    token_ids = torch.randint(vocabulary, (tokens,), generator=generator)
    return hidden.requires_grad_(), head.requires_grad_(), token_ids, torch.rand(tokens, generator=generator) < 0.7


def losses_by_loop(hidden: Tensor, head: Tensor, token_ids: Tensor, supervised: Tensor) -> Tensor:
    """-log softmax at the token, one token at a time."""
    losses = []
    for row, token, counts in zip(hidden, token_ids, supervised, strict=True):
        logits = head @ row
        losses.append(logits.exp().sum().log() - logits[token] if counts else logits.sum() * 0)
    return torch.stack(losses)


problems = st.builds(random_problem, st.integers(1, 40), st.integers(1, 12), st.integers(2, 50), seeds)


chunk_sizes = st.integers(1, 600)  # logits at once: from less than one row to all of them


@given(problem=problems, chunk=chunk_sizes)
@examples(50)
def test_the_loss_is_the_sum_of_minus_log_softmax_in_value_and_gradient(problem, chunk):
    with mock.patch.dict(objective._CHUNK_LOGITS, cpu=chunk):
        got, expected = caption_loss(*problem), losses_by_loop(*problem).sum()
    torch.testing.assert_close(got, expected, **EXACT)
    gradients = (torch.autograd.grad(0.3 * loss, problem[:2]) for loss in (got, expected))
    for actual, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, wanted, **EXACT)


@given(problem=problems, chunk=chunk_sizes, seed=seeds)
@examples(50)
def test_the_losses_are_minus_log_softmax_in_value_and_gradient(problem, chunk, seed):
    with mock.patch.dict(objective._CHUNK_LOGITS, cpu=chunk):
        got, expected = caption_losses(*problem), losses_by_loop(*problem)
    torch.testing.assert_close(got, expected, **EXACT)
    weights = torch.randn(len(got), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    gradients = (torch.autograd.grad((weights * losses).sum(), problem[:2]) for losses in (got, expected))
    for actual, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, wanted, **EXACT)


@pytest.mark.parametrize("frozen", [0, 1], ids=["hidden", "head"])
def test_a_frozen_side_leaves_the_gradient_of_the_other_alone(frozen):
    problem = random_problem(9, 6, 11)
    (expected,) = torch.autograd.grad(losses_by_loop(*problem).sum(), problem[1 - frozen])
    problem[frozen].requires_grad_(False)
    caption_loss(*problem).backward()
    torch.testing.assert_close(problem[1 - frozen].grad, expected, **EXACT)
    assert problem[frozen].grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_loss_without_gradients_costs_the_logits_and_no_more(mode):
    problem = random_problem(8, 4, 10)
    with mode(), FlopCounterMode(display=False) as counter:
        caption_loss(*problem)
    assert counter.get_total_flops() == 2 * 8 * 4 * 10


@pytest.mark.parametrize("loss", [caption_loss, caption_losses])
def test_unsupervised_tokens_have_no_loss_and_no_gradient(loss):
    hidden, head, token_ids, supervised = random_problem(20, 6, 11)
    edited = torch.where(supervised, token_ids, 10 - token_ids)
    assert not torch.equal(edited, token_ids)
    assert torch.equal(loss(hidden, head, edited, supervised), loss(hidden, head, token_ids, supervised))
    (gradient,) = torch.autograd.grad(loss(hidden, head, token_ids, supervised).sum(), hidden)
    assert torch.equal(gradient.abs().sum(1) > 0, supervised)


def test_without_supervision_the_loss_is_zero():
    hidden, head, token_ids, supervised = random_problem(5, 6, 11)
    loss = caption_loss(hidden, head, token_ids, torch.zeros_like(supervised))
    assert [loss.item(), *(g.abs().sum().item() for g in torch.autograd.grad(loss, (hidden, head)))] == [0, 0, 0]


def test_without_text_the_loss_is_a_zero_with_a_gradient():
    hidden, head, token_ids, supervised = random_problem(0, 6, 11)
    loss = caption_loss(hidden, head, token_ids, supervised)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(head.grad, torch.zeros(11, 6, dtype=torch.float64))
    assert caption_losses(hidden, head, token_ids, supervised).tolist() == []


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_summed_loss_of_packs_over_their_tokens_is_that_of_the_joint_pack(cut):
    model = small_model()
    samples = random_samples(model.config, [(2, 3, 6), (1, 2, 1), (3, 3, 4), (2, 1, 0)])
    joint, packs = Pack.of(samples), [Pack.of(samples[:cut]), Pack.of(samples[cut:])]
    mean = model.token_losses(joint)[joint.supervised].mean()
    torch.testing.assert_close(sum(model(pack) for pack in packs) / joint.supervised.sum(), mean, **EXACT)


@pytest.mark.parametrize("loss", [caption_loss, caption_losses])
def test_bfloat16_rows_under_a_float32_head_stay_near_the_exact_loss(loss):
    problem = random_problem(48, 32, 200)
    hidden, head = (x.detach() / 3 for x in problem[:2])
    exact = losses_by_loop(hidden.requires_grad_(), head.requires_grad_(), *problem[2:]).sum()
    rows, weight = hidden.detach().bfloat16().requires_grad_(), head.detach().float().requires_grad_()
    got = loss(rows, weight, *problem[2:]).float().sum()
    torch.testing.assert_close(got.double(), exact, rtol=0.01, atol=0)
    gradients = torch.autograd.grad(got, (rows, weight)), torch.autograd.grad(exact, (hidden, head))
    for actual, wanted in zip(*gradients, strict=True):
        assert (actual.double() - wanted).norm() < 0.02 * wanted.norm()
