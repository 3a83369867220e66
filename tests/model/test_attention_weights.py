"""Attention weights against the dense mask by a loop, and passes that are heard against those that are not."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from genlip.model import attention_weights
from genlip.model.attention import PackAttention, reference
from genlip.model.attention_weights import RecordingAttention, Weights, visible_rows
from genlip.model.pack import Pack

from .helpers import (
    EXACT,
    VARIANTS,
    Shape,
    examples,
    mask_by_loop,
    pack_shapes,
    random_pack,
    rows_by_loop,
    small_config,
    small_model,
)

HEADS, DIM = 2, 6
SHAPES: list[Shape] = [(2, 2, 3), (2, 2, 3), (1, 4, 3), (1, 3, 0), (2, 2, 3), (3, 1, 2), (1, 1, 1)]


def random_qkv(pack: Pack, predicting: bool = False, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = (len(pack.token_ids) if predicting else pack.num_rows, pack.num_rows, pack.num_rows)
    return [torch.randn(n, HEADS, DIM, dtype=dtype, generator=generator) for n in rows]


def heard(pack: Pack, q: Tensor, k: Tensor, v: Tensor, predicting: bool = False) -> tuple[Tensor, dict[int, Tensor]]:
    """What was read, and the weights [h m l] of each sample by its number."""
    found: dict[int, Tensor] = {}

    def listen(some: Weights) -> None:
        assert some.layer == 7
        for i, weights in enumerate(some.weights):
            assert some.patches == pack.patch_counts[some.first + i]
            found[some.first + i] = weights

    return RecordingAttention(pack, listen)(7, q, k, v, predicting=predicting), found


def weights_by_loop(q: Tensor, k: Tensor, shapes: list[Shape]) -> dict[int, Tensor]:
    """Dense softmax over the whole pack, cut into samples by the rows' own names."""
    scores = torch.stack([q[:, head] @ k[:, head].T for head in range(HEADS)]) / DIM**0.5
    dense = scores.masked_fill(~torch.tensor(mask_by_loop(shapes)), -torch.inf).softmax(dim=-1)
    own = [[row for row, (sample, _) in enumerate(rows_by_loop(shapes)) if sample == i] for i in range(len(shapes))]
    return {i: dense[:, rows][:, :, rows] for i, rows in enumerate(own)}


@pytest.mark.parametrize("predicting", [False, True])
@given(shapes=pack_shapes)
@examples(25)
def test_what_is_read_is_what_the_usual_attention_reads(predicting, shapes):
    pack = random_pack(small_config(), shapes)
    q, k, v = random_qkv(pack, predicting)
    read, _ = heard(pack, q, k, v, predicting)
    torch.testing.assert_close(read, PackAttention(pack)(0, q, k, v, predicting=predicting), **EXACT)
    torch.testing.assert_close(read, reference(q, k, v, pack, predicting=predicting), **EXACT)


@given(shapes=pack_shapes)
@examples(25)
def test_every_sample_is_heard_with_the_weights_of_the_dense_softmax(shapes):
    pack = random_pack(small_config(), shapes)
    q, k, v = random_qkv(pack)
    _, found = heard(pack, q, k, v)
    expected = weights_by_loop(q, k, shapes)
    assert list(found) == list(expected), "each sample once, in order"
    for sample, weights in expected.items():
        torch.testing.assert_close(found[sample], weights, **EXACT)
        torch.testing.assert_close(found[sample].sum(dim=-1), torch.ones_like(weights[..., 0]), **EXACT)


def test_when_predicting_the_rows_before_each_token_are_heard():
    pack = random_pack(small_config(), SHAPES)
    q, k, v = random_qkv(pack)
    _, whole = heard(pack, q, k, v)
    _, found = heard(pack, q[pack.predictors], k, v, predicting=True)
    for sample, (rows, columns, text) in enumerate(SHAPES):
        before = rows * columns - 1
        torch.testing.assert_close(found[sample], whole[sample][:, before : before + text], **EXACT)


def test_few_weights_at_once_change_nothing(monkeypatch):
    pack = random_pack(small_config(), SHAPES)
    q, k, v = random_qkv(pack)
    read, found = heard(pack, q, k, v)
    sizes: list[int] = []
    monkeypatch.setattr(attention_weights, "_WEIGHTS", 1)
    again = RecordingAttention(pack, lambda some: sizes.append(len(some.weights)))(0, q, k, v)
    assert sizes == [1] * len(SHAPES)
    torch.testing.assert_close(again, read, **EXACT)
    _, one_by_one = heard(pack, q, k, v)
    assert all(torch.allclose(one_by_one[sample], weights) for sample, weights in found.items())


def test_samples_of_one_shape_are_heard_together():
    pack = random_pack(small_config(), SHAPES)
    runs: list[tuple[int, int, int]] = []
    RecordingAttention(pack, lambda some: runs.append((some.first, len(some.weights), some.patches)))(0, *random_qkv(pack))
    # The third sample has another grid, but as many patches and as much text.
    assert runs == [(0, 3, 4), (3, 1, 3), (4, 1, 4), (5, 1, 3), (6, 1, 1)]


def test_bfloat16_is_weighed_in_float32():
    pack = random_pack(small_config(), SHAPES)
    q, k, v = random_qkv(pack, dtype=torch.bfloat16)
    read, found = heard(pack, q, k, v)
    assert read.dtype == torch.bfloat16
    expected = weights_by_loop(q.float(), k.float(), SHAPES)
    for sample, weights in expected.items():
        torch.testing.assert_close(found[sample], weights)


@pytest.mark.parametrize("variant", ["default", "ungated", "plain_mlp", "projected"])
@torch.no_grad()
def test_a_model_that_is_heard_computes_the_same(variant):
    model = small_model(**VARIANTS[variant])
    pack = random_pack(model.config, SHAPES)
    layers: list[int] = []
    attend = RecordingAttention(pack, lambda some: layers.append(some.layer))
    torch.testing.assert_close(model.trunk(pack, attend=attend), model.trunk(pack), **EXACT)
    torch.testing.assert_close(model.trunk(pack, True, attend), model.trunk(pack, True), **EXACT)
    assert layers == [0] * 5 + [1] * 5 + [0] * 5 + [1] * 5
    images = pack.without_text()
    features = model.ln_post(model.trunk(images, attend=RecordingAttention(images, lambda some: None)))
    torch.testing.assert_close(features, model.encode(pack), **EXACT)


def test_two_patches_and_two_tokens_see_the_table_by_hand():
    assert visible_rows(2, 2).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert visible_rows(3, 0).all()
