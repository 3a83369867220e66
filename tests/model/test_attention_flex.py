"""`genlip.model.attention_flex`: the mask against a loop, the kernel uncompiled in float64, and how often it is compiled."""

from functools import partial
from unittest import mock

import pytest
import torch
from hypothesis import given
from torch._dynamo.testing import CompileCounter
from torch.nn.attention import flex_attention as torch_flex

from genlip.model import attention_flex
from genlip.model.attention import PackAttention
from genlip.model.attention_flex import FlexAttention, filled_rows, mask_rule

from .helpers import EXACT, examples, mask_by_loop, pack_shapes, random_pack, seeds, small_config
from .test_attention import random_qkv

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.mark.parametrize("predicting", [False, True])
@given(shapes=pack_shapes)
@examples(25)
def test_the_mask_is_the_rule_and_filled_rows_read_the_first_key_alone(predicting, shapes):
    pack, seen = random_pack(small_config(), shapes), mask_by_loop(shapes)
    if predicting:
        seen = [seen[row] for row in pack.predictors.tolist()]
    rows = pack.num_rows + 3
    expected = torch.zeros(rows, rows, dtype=torch.bool)
    expected[: len(seen), : pack.num_rows] = torch.tensor(seen, dtype=torch.bool).reshape(-1, pack.num_rows)
    expected[len(seen) :, 0] = True
    mask = torch_flex.create_mask(mask_rule(pack, rows, predicting), None, None, rows, rows, device="cpu")
    assert torch.equal(mask[0, 0], expected)


@pytest.mark.parametrize("predicting", [False, True])
@given(shapes=pack_shapes, seed=seeds)
@examples(15)
def test_flex_is_the_reference_in_values_and_gradients(predicting, shapes, seed):
    pack = random_pack(small_config(), shapes)
    qkv = random_qkv(pack, predicting, seed)
    upstream = torch.randn(qkv[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    results = []
    with mock.patch.object(torch_flex, "_validate_device"):  # it refuses gradients on CPU, which uncompiled come out right
        for backend in ("flex", "reference"):
            out = PackAttention(pack, backend)(0, *qkv, predicting)
            results.append((out, *torch.autograd.grad(out, qkv, upstream, materialize_grads=True)))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, **EXACT)


def test_rows_are_filled_up_to_powers_of_two_of_at_least_a_block():
    sizes = [1, 127, 128, 129, 256, 16_383, 16_384, 16_385]
    assert [filled_rows(rows) for rows in sizes] == [128, 128, 128, 256, 256, 16_384, 16_384, 32_768]


@torch.no_grad()
def test_packs_of_any_shapes_share_what_was_compiled_for_their_filled_rows():
    compiled = CompileCounter()
    with mock.patch.object(torch, "compile", partial(torch.compile, backend=compiled)):
        kernels = attention_flex._kernels.__wrapped__("cuda")
    with mock.patch.object(attention_flex, "_kernels", return_value=kernels):
        for shapes in ([(2, 3, 4), (1, 1, 0)], [(3, 3, 9)], [(1, 1, 1)] * 7, [(4, 4, 0)]):
            pack = random_pack(small_config(), shapes)
            attend = FlexAttention(pack)
            for predicting in (False, True):
                q, k, v = random_qkv(pack, predicting)
                expected = PackAttention(pack, "reference")(0, q, k, v, predicting)
                torch.testing.assert_close(attend(q.detach(), k.detach(), v.detach(), predicting), expected, **EXACT)
    assert compiled.frame_count == 2  # attention, and the builder of its masks
