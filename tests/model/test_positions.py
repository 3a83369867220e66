"""`genlip.model.positions` against slow loops, complex numbers and the recorded positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genlip.model.pack import Pack
from genlip.model.positions import Rotary, channel_axes, patch_positions, rotary_tables, rotate, text_positions

from .helpers import (
    EXACT,
    FLOAT32_ANGLES,
    RECORDED,
    axis_by_rule,
    examples,
    pack_shapes,
    positions_by_loop,
    random_pack,
    recorded_samples,
    recording,
    rotated_by_loop,
    small_config,
)


@given(rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_patches_stand_at_their_row_and_column(rows, columns):
    expected = [(0, r, c) for r in range(rows) for c in range(columns)]
    assert list(map(tuple, patch_positions(rows, columns).T)) == expected


def test_text_counts_on_from_one_past_the_largest_coordinate():
    assert text_positions((2, 3), 4).tolist() == [[3, 4, 5, 6]] * 3
    assert text_positions((5, 1), 2).tolist() == [[5, 6]] * 3
    assert text_positions((1, 1), 0).tolist() == [[], [], []]


@given(shapes=pack_shapes)
@examples(25)
def test_positions_start_again_in_every_sample_of_a_pack(shapes):
    pack = random_pack(small_config(), shapes)
    assert list(map(tuple, pack.positions.T.tolist())) == positions_by_loop(shapes)


@pytest.mark.parametrize("name", RECORDED)
def test_positions_are_the_recorded_ones(name):
    for sample, recorded in zip(recorded_samples(name), recording(name).samples, strict=True):
        assert torch.equal(Pack.of([sample]).positions, recorded["position_ids"])


@pytest.mark.parametrize(
    ("section", "axes"),
    [
        ((2, 3, 3), [0, 1, 2, 0, 1, 2, 0, 1]),  # sections that sum to d/2 = 8
        ((4, 2, 2), [0, 1, 2, 0, 1, 2, 0, 0]),
        ((4, 1, 3), [0, 1, 2, 0, 0, 2, 0, 0]),
        ((8, 0, 0), [0, 0, 0, 0, 0, 0, 0, 0]),
        ((8, 12, 12), [0, 1, 2, 0, 1, 2, 0, 1]),  # clamped
    ],
)
def test_interleaved_channels_take_turns_while_their_section_lasts(section, axes):
    assert channel_axes(small_config(hidden_size=32, mrope_section=section)).tolist() == axes


@pytest.mark.parametrize(
    ("section", "axes"),
    [((2, 3, 3), [0, 0, 1, 1, 1, 2, 2, 2]), ((0, 7, 1), [1] * 7 + [2]), ((8, 0, 0), [0] * 8)],
)
def test_chunked_channels_are_runs_of_the_sections(section, axes):
    config = small_config(hidden_size=32, mrope_section=section, mrope_interleaved=False)
    assert channel_axes(config).tolist() == axes


@given(half=st.integers(1, 40), section=st.tuples(*[st.integers(0, 45)] * 3))
@examples(100)
def test_interleaved_channels_follow_the_rule(half, section):
    config = small_config(hidden_size=4 * half, mrope_section=section)
    assert channel_axes(config).tolist() == [axis_by_rule(j, config) for j in range(half)]


def test_published_sections_share_36_channels_evenly():
    config = small_config(hidden_size=1152, num_attention_heads=16, mrope_section=(8, 12, 12))
    assert channel_axes(config).tolist() == [0, 1, 2] * 12


@pytest.mark.parametrize(
    "changes",
    [{}, {"mrope_section": (1, 9, 9)}, {"mrope_interleaved": False, "mrope_section": (1, 3, 2)}, {"rope_theta": 100.0}],
)
def test_rotating_multiplies_complex_numbers(changes):
    config = small_config(**changes)
    positions = torch.tensor([[0, 0, 0, 7, 8], [0, 1, 2, 7, 8], [0, 5, 3, 7, 8]])
    x = torch.randn(5, 3, config.head_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = rotate(x, rotary_tables(positions, config, torch.float64))
    rows = zip(x, positions.T.tolist(), strict=True)
    expected = torch.stack([torch.stack([rotated_by_loop(head, place, config) for head in row]) for row, place in rows])
    torch.testing.assert_close(got, expected, **FLOAT32_ANGLES)


def test_rotating_is_the_published_rotate_half_formula():
    config = small_config()
    rotary = rotary_tables(torch.arange(12).reshape(3, 4), config, torch.float64)
    cos, sin = (torch.cat([table, table], dim=-1) for table in rotary)
    x = torch.randn(4, 2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rotate_half = torch.cat([-x[..., 6:], x[..., :6]], dim=-1)
    torch.testing.assert_close(rotate(x, rotary), x * cos + rotate_half * sin, **EXACT)


def test_the_gradient_of_rotating_is_its_finite_difference():
    rotary = rotary_tables(torch.arange(9).reshape(3, 3), small_config(), torch.float64)
    x = torch.randn(3, 2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotary), x)
    assert torch.autograd.gradcheck(lambda x: rotate(x.transpose(0, 1), rotary), x.detach().transpose(0, 1).requires_grad_())


def test_bfloat16_queries_still_tell_position_300_from_301():
    config, positions = small_config(), torch.tensor([300, 301]).expand(3, 2)
    x = torch.linspace(-1, 1, 12, dtype=torch.bfloat16).expand(2, 1, 12)
    rotary = rotary_tables(positions, config)
    got = rotate(x, rotary)
    exact = rotate(x.double(), Rotary(*(table.double() for table in rotary_tables(positions, config, torch.float64))))
    assert got.dtype == torch.bfloat16
    assert (got[0] - got[1]).abs().max() > 0.3
    torch.testing.assert_close(got.double(), exact, rtol=2**-8, atol=1e-4)  # only the result was rounded
