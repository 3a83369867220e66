"""`genlip.model.attention_varlen`: its index arithmetic, through a stand-in for the kernel that runs on CPU in float64."""

import inspect
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from genlip.model import attention_varlen
from genlip.model.attention import PackAttention
from genlip.model.attention_varlen import VarlenAttention, text_reads

from .helpers import EXACT, examples, gradients, pack_shapes, random_pack, seeds, small_config, small_model
from .test_attention import random_qkv

SHAPES = [(2, 2, 3), (2, 2, 3), (1, 3, 0), (3, 1, 2), (1, 1, 1)]


def stand_in(*args: Any, **kwargs: Any) -> Tensor:
    """What `varlen_attn` does, called as it must be called: query by query, causal aligned to the end of both sequences."""
    call = inspect.signature(varlen_attn).bind(*args, **kwargs)
    call.apply_defaults()
    q, k, v, q_ends, k_ends, longest_q, longest_k, *_ = call.args
    assert q_ends.dtype == k_ends.dtype == torch.int32
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
    q_bounds, k_bounds = q_ends.tolist(), k_ends.tolist()
    assert (q_bounds[0], q_bounds[-1], k_bounds[0], k_bounds[-1]) == (0, len(q), 0, len(k)) == (0, len(q), 0, len(v))
    sequences = list(zip(q_bounds[:-1], q_bounds[1:], k_bounds[:-1], k_bounds[1:], strict=True))
    assert longest_q == max(q_end - q_start for q_start, q_end, _, _ in sequences)
    assert longest_k == max(k_end - k_start for _, _, k_start, k_end in sequences)
    causal = {(-1, -1): False, (-1, 0): True}[call.arguments["window_size"]]
    rows = []
    for q_start, q_end, k_start, k_end in sequences:
        assert q_end > q_start
        assert k_end > k_start
        for row in range(q_start, q_end):
            seen = slice(k_start, k_end - (q_end - 1 - row) if causal else k_end)
            scores = torch.einsum("hd,khd->hk", q[row], k[seen]) / q.shape[-1] ** 0.5
            rows.append(torch.einsum("hk,khd->hd", scores.softmax(-1), v[seen]))
    return torch.stack(rows)


@pytest.mark.parametrize("predicting", [False, True])
@given(shapes=pack_shapes, seed=seeds)
@examples(25)
def test_varlen_is_the_reference_in_values_and_gradients(predicting, shapes, seed):
    pack = random_pack(small_config(), shapes)
    qkv = random_qkv(pack, predicting, seed)
    upstream = torch.randn(qkv[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    results = []
    for attend in (VarlenAttention(pack, stand_in), lambda *args: PackAttention(pack, "reference")(0, *args)):
        out = attend(*qkv, predicting)
        results.append((out, *torch.autograd.grad(out, qkv, upstream, materialize_grads=True)))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, **EXACT)


def test_the_keys_of_text_by_hand():
    # patches 0-3, 4-7, 8-10, 11-13, 14; text 15-17, 18-20, none, 21-22, 23
    pack = random_pack(small_config(), SHAPES)
    seen, asked = text_reads(pack, predicting=False), text_reads(pack, predicting=True)
    first, second = [0, 1, 2, 3, 15, 16], [4, 5, 6, 7, 18, 19]
    assert seen.keys.tolist() == [*first, 17, *second, 20, 11, 12, 13, 21, 22, 14, 23]
    assert asked.keys.tolist() == [*first, *second, 11, 12, 13, 21, 14]
    assert seen.queries.ends.tolist() == asked.queries.ends.tolist() == [0, 3, 6, 8, 9]
    assert (seen.reads.ends.tolist(), seen.reads.longest) == ([0, 7, 14, 19, 21], 7)
    assert (asked.reads.ends.tolist(), asked.reads.longest) == ([0, 6, 12, 16, 17], 6)


def test_a_pack_without_text_has_nothing_to_arrange():
    pack = random_pack(small_config(), SHAPES).without_text()
    assert text_reads(pack, predicting=False) is None
    q, k, v = random_qkv(pack, predicting=False)
    expected = PackAttention(pack, "reference")(0, q, k, v)
    torch.testing.assert_close(VarlenAttention(pack, stand_in)(q, k, v), expected, **EXACT)


def test_the_whole_model_learns_the_same_and_arranges_a_pack_once_for_all_layers():
    model, pack = small_model(num_hidden_layers=4), random_pack(small_config(), SHAPES)
    expected = model(pack)
    model.attention = "varlen"
    with (
        mock.patch.object(attention_varlen, "_torch_kernel", return_value=stand_in),
        mock.patch.object(attention_varlen, "text_reads", side_effect=text_reads) as arranged,
    ):
        loss = model(pack)
    torch.testing.assert_close(loss, expected, **EXACT)
    assert sorted(call.args[1] for call in arranged.call_args_list) == [False, True]
    got = gradients(model, loss)
    for name, gradient in gradients(model, expected).items():
        torch.testing.assert_close(got[name], gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
