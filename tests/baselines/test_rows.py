"""Attention within samples against a dense mask, and dropped patches."""

import pytest
import torch

from genlip.baselines.rows import CausalAttention, SampleAttention, drop_patches, kept_patches

from ..model.helpers import EXACT, random_pack, small_config

SHAPES = [(2, 2, 3), (2, 2, 3), (1, 3, 0), (1, 1, 4)]


def dense(q, k, v, mask):
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)


def random(*shape):
    return torch.randn(*shape, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("causal", [False, True])
def test_samples_attend_to_their_own_rows(causal):
    lengths = (3, 3, 1, 5)
    owner = torch.arange(4).repeat_interleave(torch.tensor(lengths))
    q, k, v = (random(12) + n for n in range(3))
    mask = owner[:, None] == owner
    if causal:
        mask = mask.tril()
    torch.testing.assert_close(SampleAttention(lengths, lengths, causal)(0, q, k, v), dense(q, k, v, mask), **EXACT)


def test_queries_and_keys_may_be_of_different_lengths():
    queries, keys = (1, 2, 2), (4, 1, 3)
    of_query, of_key = (torch.arange(3).repeat_interleave(torch.tensor(one)) for one in (queries, keys))
    q, k, v = random(5), random(8), random(8) + 1
    torch.testing.assert_close(
        SampleAttention(queries, keys)(0, q, k, v), dense(q, k, v, of_query[:, None] == of_key), **EXACT
    )


def test_causal_attention_over_patches_and_text():
    pack = random_pack(small_config(), SHAPES)
    q, k, v = (random(pack.num_rows) + n for n in range(3))
    sample, place = pack.sample_of_row, pack.position_in_sample
    mask = (sample[:, None] == sample) & (place <= place[:, None])
    attend = CausalAttention(pack)
    expected = dense(q, k, v, mask)
    torch.testing.assert_close(attend(0, q, k, v), expected, **EXACT)
    torch.testing.assert_close(attend(0, q[pack.predictors], k, v, predicting=True), expected[pack.predictors], **EXACT)


@pytest.mark.parametrize("kept", [0.01, 0.35, 0.8])
def test_dropped_patches_are_random_and_the_others_keep_their_place(kept):
    pack = random_pack(small_config(), [(4, 5, 3), (1, 1, 2), (3, 4, 0)])
    torch.manual_seed(0)
    seen = set()
    for _ in range(20):
        smaller, which = drop_patches(pack, kept)
        seen.add(tuple(which.tolist()))
        assert smaller.patch_counts == tuple(kept_patches(count, kept) for count in pack.patch_counts)
        assert which.tolist() == sorted({*which.tolist()})
        assert torch.equal(smaller.patches, pack.patches[which])
        assert torch.equal(smaller.sample_of_row[: len(which)], pack.sample_of_row[which])
        rows = torch.cat([which, torch.arange(pack.num_patches, pack.num_rows)])
        assert torch.equal(smaller.positions, pack.positions[:, rows])
        assert torch.equal(smaller.token_ids, pack.token_ids)
    assert len(seen) > 1


def test_each_patch_is_kept_equally_often():
    pack = random_pack(small_config(), [(2, 5, 1), (3, 3, 1)])
    torch.manual_seed(0)
    counts = sum(torch.bincount(drop_patches(pack, 0.5)[1], minlength=pack.num_patches) for _ in range(2000))
    expected = torch.tensor([5 / 10] * 10 + [4 / 9] * 9)
    assert torch.allclose(counts / 2000, expected, atol=0.05)


def test_nothing_is_dropped_of_the_whole():
    pack = random_pack(small_config(), SHAPES)
    assert drop_patches(pack, 1.0)[0] is pack
