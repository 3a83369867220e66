"""`genlip.model.attention`: the mask against a table and a loop, the backends against loops and one another."""

from unittest import mock

import pytest
import torch
from hypothesis import given
from torch import Tensor

from genlip.model import attention
from genlip.model.attention import BACKENDS, PackAttention, prefix_mask
from genlip.model.pack import Pack

from .helpers import EXACT, Shape, examples, mask_by_loop, pack_shapes, random_pack, seeds, small_config

HEADS, DIM = 2, 6


def random_qkv(pack: Pack, predicting: bool, seed: int = 0) -> list[Tensor]:
    """Queries, keys and values, Float64[n h d], of which the predicting ask only for the text."""
    generator = torch.Generator().manual_seed(seed)
    rows = (len(pack.token_ids) if predicting else pack.num_rows, pack.num_rows, pack.num_rows)
    return [torch.randn(n, HEADS, DIM, dtype=torch.float64, generator=generator).requires_grad_() for n in rows]


def attention_by_loop(q: Tensor, k: Tensor, v: Tensor, shapes: list[Shape]) -> Tensor:
    """One query and one head at a time, over the keys that it may see."""
    out = torch.zeros_like(q)
    for row, visible in enumerate(mask_by_loop(shapes)):
        for head in range(HEADS):
            scores = [float(q[row, head] @ k[j, head]) / DIM**0.5 for j, seen in enumerate(visible) if seen]
            weights = torch.tensor(scores, dtype=q.dtype).softmax(0)
            out[row, head] = weights @ v[torch.tensor(visible), head]
    return out


def test_the_mask_of_two_samples_is_the_table_by_hand():
    table = """
        1 1 . . . . .
        1 1 . . . . .
        . . 1 . . . .
        1 1 . 1 . . .
        1 1 . 1 1 . .
        . . 1 . . 1 .
        . . 1 . . 1 1
    """  # patches of the first and the second sample, then two tokens of each
    expected = [[mark == "1" for mark in line.split()] for line in table.split("\n") if line.strip()]
    assert prefix_mask(random_pack(small_config(), [(1, 2, 2), (1, 1, 2)])).tolist() == expected


@given(shapes=pack_shapes)
@examples(25)
def test_the_mask_follows_the_rule(shapes):
    assert prefix_mask(random_pack(small_config(), shapes)).tolist() == mask_by_loop(shapes)


@pytest.mark.parametrize("predicting", [False, True])
@pytest.mark.parametrize("backend", ["sdpa", "reference"])
def test_a_query_reads_the_softmax_over_what_it_may_see(backend, predicting):
    shapes = [(2, 2, 3), (2, 2, 3), (1, 3, 0), (3, 1, 2), (1, 1, 1)]
    pack = random_pack(small_config(), shapes)
    q, k, v = (x.detach() for x in random_qkv(pack, predicting=False))
    expected = attention_by_loop(q, k, v, shapes)
    if predicting:
        q, expected = q[pack.predictors], expected[pack.predictors]
    got = PackAttention(pack, backend)(0, q, k, v, predicting)
    torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("predicting", [False, True])
@given(shapes=pack_shapes, seed=seeds)
@examples(25)
def test_sdpa_is_the_reference_in_values_and_gradients(predicting, shapes, seed):
    pack = random_pack(small_config(), shapes)
    qkv = random_qkv(pack, predicting, seed)
    upstream = torch.randn(qkv[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    results = {}
    for backend in ("sdpa", "reference"):
        out = PackAttention(pack, backend)(0, *qkv, predicting)
        results[backend] = (out, *torch.autograd.grad(out, qkv, upstream, materialize_grads=True))
    for got, expected in zip(results["sdpa"], results["reference"], strict=True):
        torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("predicting", [False, True])
def test_sdpa_does_not_depend_on_how_samples_fall_into_runs(predicting):
    apart = random_pack(small_config(), [(2, 2, 3), (1, 1, 0), (2, 2, 3)])
    together = random_pack(small_config(), [(2, 2, 3), (2, 2, 3), (1, 1, 0)])
    assert (len(apart.runs), len(together.runs)) == (3, 2)
    ranks = {(int(s), int(r)): i for i, (s, r) in enumerate(zip(apart.sample_of_row, apart.position_in_sample, strict=True))}
    moved = {0: 0, 1: 2, 2: 1}
    order = [ranks[moved[int(s)], int(r)] for s, r in zip(together.sample_of_row, together.position_in_sample, strict=True)]
    q, k, v = random_qkv(apart, predicting=False)
    expected = PackAttention(apart, "sdpa")(0, q, k, v)[order]
    q, k, v = q[order], k[order], v[order]
    if predicting:
        q, expected = q[together.predictors], expected[together.predictors]
    torch.testing.assert_close(PackAttention(together, "sdpa")(0, q, k, v, predicting), expected, **EXACT)


@pytest.mark.parametrize(
    ("shapes", "calls"),
    [
        ([(2, 3, 4), (2, 3, 4), (3, 2, 4)], 1 + 1),  # equally many patches are equal, whatever the grid
        ([(2, 3, 4), (2, 3, 3), (2, 3, 2)], 1 + 1),  # texts are padded to the longest
        ([(2, 3, 4), (2, 3, 1), (2, 3, 1)], 2 + 2),  # unless too much would be padding: 12 rows for 6 tokens
        ([(2, 3, 4), (1, 1, 4), (2, 3, 4)], 3 + 3),  # only neighbours share
        ([(2, 3, 0), (2, 3, 0)], 1),
    ],
)
def test_neighbours_of_one_kind_share_a_call_for_patches_and_one_for_text(shapes, calls):
    pack = random_pack(small_config(), shapes)
    with mock.patch.object(attention, "attend_group", side_effect=attention.attend_group) as counted:
        PackAttention(pack, "sdpa")(0, *random_qkv(pack, predicting=False))
    assert counted.call_count == calls


@pytest.mark.parametrize("predicting", [False, True])
def test_long_texts_take_the_fused_kernel_and_read_the_same(predicting, monkeypatch):
    pack = random_pack(small_config(), [(2, 2, 3), (2, 2, 4), (1, 3, 2)])
    qkv = random_qkv(pack, predicting)
    expected = PackAttention(pack, "sdpa")(0, *qkv, predicting)
    monkeypatch.setattr(attention, "_SHORT", 0)
    torch.testing.assert_close(PackAttention(pack, "sdpa")(0, *qkv, predicting), expected, **EXACT)


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=rf"unknown attention backend 'flash'.*{', '.join(BACKENDS)}"):
        PackAttention(random_pack(small_config(), [(1, 1, 1)]), "flash")
