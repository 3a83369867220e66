"""Pooling: against slow loops in float64 over every key and value, and that padding never counts."""

import math

import pytest
import torch

from genlip.evaluate.probe.pooling import AttentivePooling, ProbeHead, mean_pooled

COUNTS = (3, 5, 1)


def padded(seed: int = 0, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64[3 5 D], with noise where there is no patch, and what is real."""
    features = torch.randn(3, 5, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return features, torch.arange(5) < torch.tensor(COUNTS)[:, None]


def attention_by_loop(pool: AttentivePooling, patches: torch.Tensor) -> list[float]:
    """Every patch gets a key and a value, every head a softmax."""
    heads, each, width = pool.key.shape
    query, key_of, value_of = (part.tolist() for part in (pool.query, pool.key, pool.value))
    pooled = []
    for h in range(heads):
        keys = [[sum(key_of[h][i][j] * x[j] for j in range(width)) for i in range(each)] for x in patches.tolist()]
        values = [[sum(value_of[h][i][j] * x[j] for j in range(width)) for i in range(each)] for x in patches.tolist()]
        scores = [sum(query[h][i] * key[i] for i in range(each)) / math.sqrt(each) for key in keys]
        weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
        pooled += [sum(w * value[i] for w, value in zip(weights, values, strict=True)) for i in range(each)]
    return pooled


def test_attentive_pooling_is_attention_of_one_query_to_the_real_patches() -> None:
    pool = AttentivePooling(8, 2, torch.Generator().manual_seed(1)).double()
    pool.query.data.normal_(std=2, generator=torch.Generator().manual_seed(2))
    features, real = padded()
    expected = [attention_by_loop(pool, features[b, :count]) for b, count in enumerate(COUNTS)]
    torch.testing.assert_close(pool(features, real), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_the_mean_is_over_real_patches() -> None:
    features, real = padded()
    expected = torch.stack([features[b, :count].mean(dim=0) for b, count in enumerate(COUNTS)])
    torch.testing.assert_close(mean_pooled(features, real), expected)


def test_padding_changes_nothing() -> None:
    head = ProbeHead(8, 3, 2).double()
    features, real = padded()
    other = torch.where(real[..., None], features, 100.0)
    torch.testing.assert_close(head(features, real), head(other, real), rtol=0, atol=0)


def test_without_pooling_a_head_is_linear() -> None:
    head = ProbeHead(8, 3, None).double()
    features = padded()[0][:, :1]
    expected = torch.stack([head.weight @ features[b, 0] + head.bias for b in range(3)])
    torch.testing.assert_close(head(features, torch.ones(3, 1, dtype=torch.bool)), expected)
    assert head.pool is None


def test_a_seed_draws_the_same_head_and_leaves_other_randomness_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (ProbeHead(8, 3, 2, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["pool.query"], other["pool.query"])
    assert torch.equal(before, torch.get_rng_state())


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads cannot share a width of 8"):
        AttentivePooling(8, 3)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(
        ValueError, match="features of 6 numbers, and the head reads 8: train it on features of the same model"
    ):
        ProbeHead(8, 3, 2)(torch.zeros(1, 2, 6), torch.ones(1, 2, dtype=torch.bool))
