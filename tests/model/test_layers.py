"""`genlip.model.layers` against loops and the paper's equations."""

import math
from collections.abc import Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genlip.model.attention import PackAttention
from genlip.model.config import ACTIVATIONS
from genlip.model.layers import MLP, Block, GatedAttention, LayerScale, SwiGLU, drop_path
from genlip.model.pack import Pack
from genlip.model.positions import rotary_tables

from .helpers import (
    EXACT,
    FLOAT32_ANGLES,
    mask_by_loop,
    positions_by_loop,
    random_pack,
    randomised,
    rotated_by_loop,
    small_config,
)

SHAPE = (2, 3, 4)  # ten rows

# name -> the activation of one number
ACTIVATION_BY_HAND = {
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_pytorch_tanh": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
}


def random_rows(n: int, width: int = 24) -> Tensor:
    """Float64[n D]"""
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def run_block(block: Block, x: Tensor, pack: Pack, rows: Tensor | None = None, drop: float = 0.0) -> Tensor:
    """A block of `small_config` over a pack."""
    rotary = rotary_tables(pack.positions, small_config(), torch.float64)
    paths = [drop_path(drop, pack.sample_of_row, len(pack.grids), torch.float64) for _ in range(2)] if drop else None
    return block(x, rotary, partial(PackAttention(pack), 0), rows, paths and tuple(paths))


def block_by_path(block: Block, x: Tensor, pack: Pack, attention: int, ffn: int) -> Tensor:
    """The same with its two branches multiplied by these factors."""
    rotary = rotary_tables(pack.positions, small_config(), torch.float64)
    branch = block.self_attn(block.layer_norm1(x), rotary, partial(PackAttention(pack), 0))
    x = x + attention * block.layer_scale1(branch)
    return x + ffn * block.layer_scale2(block.mlp(block.layer_norm2(x)))


def attention_by_loop(layer: GatedAttention, x: Tensor, config) -> Tensor:
    """One head and one query of one sample at a time."""
    width, dim = config.hidden_size, config.head_dim
    places, visible, out = positions_by_loop([SHAPE]), mask_by_loop([SHAPE]), torch.zeros_like(x)
    asked, k, v = layer.q_proj(x), layer.k_proj(x), layer.v_proj(x)
    for head in range(config.num_attention_heads):
        part = slice(head * dim, (head + 1) * dim)
        keys = [rotated_by_loop(row[part], place, config) for row, place in zip(k, places, strict=True)]
        for i, place in enumerate(places):
            query = rotated_by_loop(asked[i, :width][part], place, config)
            seen = [j for j, yes in enumerate(visible[i]) if yes]
            chance = [math.exp(query @ keys[j] / math.sqrt(dim)) for j in seen]
            out[i, part] = sum(c / sum(chance) * v[j, part] for c, j in zip(chance, seen, strict=True))
    if config.gated_attention:
        out = out * torch.sigmoid(asked[:, width:])
    return layer.out_proj(out)


@pytest.mark.parametrize("rows", [None, [9, 2, 5]], ids=["every row", "some rows"])
@pytest.mark.parametrize("gated", [True, False])
@torch.no_grad()
def test_attention_is_a_softmax_per_head_times_the_sigmoid_of_its_gate(gated, rows):
    config = small_config(gated_attention=gated)
    layer, x = randomised(GatedAttention(config)), random_rows(10)
    visible = torch.tensor(mask_by_loop([SHAPE]))[rows or slice(None)]

    def attend(q, k, v, predicting):
        heads_first = (part.transpose(0, 1) for part in (q, k, v))
        return F.scaled_dot_product_attention(*heads_first, attn_mask=visible).transpose(0, 1)

    rotary = rotary_tables(torch.tensor(positions_by_loop([SHAPE])).T, config, torch.float64)
    got = layer(x, rotary, attend, None if rows is None else torch.tensor(rows))
    torch.testing.assert_close(got, attention_by_loop(layer, x, config)[rows or slice(None)], **FLOAT32_ANGLES)


def test_the_gate_doubles_the_query_projection():
    assert GatedAttention(small_config()).q_proj.weight.shape == (48, 24)
    assert GatedAttention(small_config(gated_attention=False)).q_proj.weight.shape == (24, 24)


def affine(layer: nn.Linear, x: Sequence[Tensor]) -> list[Tensor]:
    """weight @ x + bias, one number at a time."""
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(layer.weight, layer.bias, strict=True)]


def test_activations_are_those_of_the_config():
    assert set(ACTIVATIONS) == set(ACTIVATION_BY_HAND)


@pytest.mark.parametrize("name", ACTIVATION_BY_HAND)
@torch.no_grad()
def test_swiglu_multiplies_the_activated_gate_with_the_other_half(name):
    act, ffn = ACTIVATION_BY_HAND[name], randomised(SwiGLU(small_config(hidden_act=name)))
    x = random_rows(1)
    gate = [act(value) for value in affine(ffn.gate_fc, x[0])]
    hidden = [g * value for g, value in zip(gate, affine(ffn.fc1, x[0]), strict=True)]
    torch.testing.assert_close(ffn(x)[0], torch.stack(affine(ffn.fc2, hidden)), **EXACT)


@pytest.mark.parametrize("name", ACTIVATION_BY_HAND)
@torch.no_grad()
def test_the_plain_mlp_has_no_gate(name):
    act, ffn = ACTIVATION_BY_HAND[name], randomised(MLP(small_config(hidden_act=name)))
    x = random_rows(1)
    hidden = [act(value) for value in affine(ffn.fc1, x[0])]
    torch.testing.assert_close(ffn(x)[0], torch.stack(affine(ffn.fc2, hidden)), **EXACT)


def test_layer_scale_multiplies_each_channel():
    scale = LayerScale(3, 0.1)
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 5.0]])
    torch.testing.assert_close(scale(x), torch.tensor([[0.1, 0.2, 0.3], [0.0, -0.1, 0.5]]))
    scale.lambda1.data = torch.tensor([1.0, 0.0, -2.0])
    assert scale(x).tolist() == [[1.0, 0.0, -6.0], [0.0, 0.0, -10.0]]


def test_a_block_without_layer_scale_has_no_such_parameters():
    names = [name for name, _ in Block(small_config(ls_init_value=0.0)).named_parameters()]
    assert not [name for name in names if "layer_scale" in name]


def test_drop_path_drops_whole_samples_and_scales_the_others():
    torch.manual_seed(0)
    sample = torch.arange(1000).repeat_interleave(3)
    factor = drop_path(0.25, sample, 1000, torch.float64).view(1000, 3)
    kept = factor[:, 0] != 0
    torch.testing.assert_close(factor, torch.where(kept, 4 / 3, 0.0).double()[:, None].expand(-1, 3))
    assert abs(kept.double().mean() - 0.75) < 0.05  # 3.7 standard deviations


def test_drop_path_keeps_the_mean():
    torch.manual_seed(0)
    samples = 40_000
    factor = drop_path(0.3, torch.arange(samples), samples, torch.float32)
    assert abs(factor.mean() - 1) < 0.013  # 4 standard deviations


@pytest.mark.parametrize("plain", [False, True], ids=["swiglu", "mlp"])
@torch.no_grad()
def test_a_block_is_the_papers_equation(plain):
    config = small_config(use_swiglu_ffn=not plain)
    block, x = randomised(Block(config)).eval(), random_rows(10)
    pack = random_pack(config, [SHAPE])

    def norm(layer: nn.LayerNorm, rows: Tensor) -> Tensor:
        centred = rows - rows.mean(1, keepdim=True)
        return centred / ((centred**2).mean(1, keepdim=True) + 1e-6).sqrt() * layer.weight + layer.bias

    attention = attention_by_loop(block.self_attn, norm(block.layer_norm1, x), config)
    expected = x + block.layer_scale1.lambda1 * attention
    expected = expected + block.layer_scale2.lambda1 * block.mlp(norm(block.layer_norm2, expected))
    torch.testing.assert_close(run_block(block, x, pack), expected, **FLOAT32_ANGLES)
    predictors = [5, 6, 7, 8]  # the last patch, and every token but the last
    torch.testing.assert_close(run_block(block, x, pack, torch.tensor(predictors)), expected[predictors], **FLOAT32_ANGLES)


@pytest.mark.parametrize("predicting", [False, True])
@torch.no_grad()
def test_in_training_each_sample_takes_one_of_four_paths_through_a_block(predicting):
    torch.manual_seed(0)
    samples = 64
    config = small_config()
    block, pack = randomised(Block(config)).train(), random_pack(config, [(1, 2, 3)] * samples)
    x = random_rows(pack.num_rows)
    rows = pack.predictors if predicting else torch.arange(pack.num_rows)
    sample, got = pack.sample_of_row[rows], run_block(block, x, pack, rows if predicting else None, drop=0.5)
    taken = torch.zeros(4, dtype=torch.long)
    # a branch is dropped, or scaled by 1 / (1 - rate)
    paths = torch.stack([block_by_path(block, x, pack, *path)[rows] for path in ((0, 0), (0, 2), (2, 0), (2, 2))])
    for i in range(samples):
        same = (paths[:, sample == i] - got[sample == i]).abs().amax(dim=(1, 2)) < 1e-10
        assert same.sum() == 1
        taken += same
    assert taken.min() >= 6  # of 64 samples, 16 are expected on each path


@torch.no_grad()
def test_a_block_drops_no_path_unless_told():
    block, x, pack = (
        randomised(Block(small_config(drop_path_rate=0.9))).train(),
        random_rows(10),
        random_pack(small_config(), [SHAPE]),
    )
    torch.testing.assert_close(run_block(block, x, pack), block_by_path(block, x, pack, 1, 1), **EXACT)
