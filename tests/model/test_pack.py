"""`genlip.model.pack` against slow loops over shapes, and its refusals."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given

from genlip.model.pack import Pack, Sample, ShapeRun

from .helpers import examples, pack_shapes, positions_by_loop, random_pack, random_samples, rows_by_loop, small_config

SHAPES = [(2, 3, 4), (2, 3, 4), (3, 2, 4), (1, 1, 0), (1, 2, 1)]


def assert_same_pack(actual: Pack, expected: Pack) -> None:
    for field in dataclasses.fields(Pack):
        a, b = getattr(actual, field.name), getattr(expected, field.name)
        assert torch.equal(a, b) if isinstance(b, torch.Tensor) else a == b, field.name


@given(shapes=pack_shapes)
@examples(50)
def test_all_patches_come_first_and_all_text_after_them_in_sample_order(shapes):
    samples = random_samples(small_config(), shapes)
    pack = Pack.of(samples)
    assert pack.patches.tolist() == [patch for sample in samples for patch in sample.patches.tolist()]
    assert pack.token_ids.tolist() == [token for sample in samples for token in sample.token_ids]
    assert pack.supervised.tolist() == [mark for sample in samples for mark in sample.supervised]
    assert (pack.num_patches, pack.num_rows) == (len(pack.patches), len(pack.patches) + len(pack.token_ids))


@given(shapes=pack_shapes)
@examples(50)
def test_rows_know_their_sample_and_their_place_in_it(shapes):
    pack = random_pack(small_config(), shapes)
    sample_and_rank = torch.stack([pack.sample_of_row, pack.position_in_sample], dim=1)
    assert list(map(tuple, sample_and_rank.tolist())) == rows_by_loop(shapes)


@given(shapes=pack_shapes)
@examples(50)
def test_a_token_is_predicted_by_the_row_before_it_in_its_sample(shapes):
    pack, rows = random_pack(small_config(), shapes), rows_by_loop(shapes)
    expected = [rows.index((sample, rank - 1)) for sample, rank in rows[pack.num_patches :]]
    assert pack.predictors.tolist() == expected


@given(shapes=pack_shapes)
@examples(50)
def test_the_last_row_of_a_sample_has_its_highest_rank(shapes):
    pack, rows = random_pack(small_config(), shapes), rows_by_loop(shapes)
    lengths = [height * width + text for height, width, text in shapes]
    assert pack.last_rows.tolist() == [rows.index((i, length - 1)) for i, length in enumerate(lengths)]


@given(shapes=pack_shapes)
@examples(50)
def test_runs_are_the_longest_stretches_of_equal_shape(shapes):
    runs = random_pack(small_config(), shapes).runs
    unrolled = [(run.patches, run.text) for run in runs for _ in range(run.samples)]
    assert unrolled == [(rows * columns, text) for rows, columns, text in shapes]
    assert all(a[1:] != b[1:] for a, b in itertools.pairwise(runs))


def test_a_pack_by_hand():
    pack = random_pack(small_config(), SHAPES)  # patches 0-5, 6-11, 12-17, 18, 19-20; text 21-24, 25-28, 29-32, none, 33
    assert pack.runs == (ShapeRun(3, 6, 4), ShapeRun(1, 1, 0), ShapeRun(1, 2, 1))
    assert pack.patch_counts == (6, 6, 6, 1, 2)
    assert pack.predictors.tolist() == [5, 21, 22, 23, 11, 25, 26, 27, 17, 29, 30, 31, 20]
    assert pack.last_rows.tolist() == [24, 28, 32, 18, 33]


def test_a_pack_takes_bytes_and_plain_lists():
    patches = np.arange(2 * 48, dtype=np.uint8).reshape(2, 48)
    pack = Pack.of([Sample(patches, (2, 1), [3, 1, 4], [False, True, True])])
    assert pack.patches.dtype == torch.uint8
    assert (pack.patches.tolist(), pack.token_ids.tolist()) == (patches.tolist(), [3, 1, 4])
    assert pack.supervised.tolist() == [False, True, True]


def test_new_text_is_supervised_unless_said_otherwise():
    (sample,) = random_samples(small_config(), [(2, 2, 3)])
    assert sample.with_text([5, 6]).supervised == [True, True]
    assert sample.with_text([5, 6], [False, True]).supervised == [False, True]
    assert sample.with_text([5, 6]).patches is sample.patches


@given(shapes=pack_shapes)
@examples(25)
def test_without_text_is_the_pack_of_the_images_alone(shapes):
    samples = random_samples(small_config(), shapes)
    images = Pack.of([sample.with_text([]) for sample in samples])
    assert_same_pack(Pack.of(samples).without_text(), images)
    assert list(map(tuple, images.positions.T.tolist())) == positions_by_loop(shapes)[: images.num_patches]


@pytest.mark.parametrize("missing", [1, 2, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_padded_pack_has_one_more_sample_of_one_patch_and_unsupervised_text(missing, dtype):
    samples = [dataclasses.replace(s, patches=s.patches.astype(dtype)) for s in random_samples(small_config(), SHAPES)]
    tail = Sample(np.zeros_like(samples[0].patches[:1]), (1, 1), [0] * (missing - 1), [False] * (missing - 1))
    pack = Pack.of(samples)
    padded = pack.padded(pack.num_rows + missing)
    assert padded.num_rows == pack.num_rows + missing
    assert_same_pack(padded, Pack.of([*samples, tail]))


def test_a_full_pack_needs_no_padding_and_a_longer_one_is_refused():
    pack = random_pack(small_config(), SHAPES)
    assert pack.padded(pack.num_rows) is pack
    with pytest.raises(ValueError, match=r"a pack of 34 rows cannot be padded to 33: pad to packing\.max_tokens or more"):
        pack.padded(pack.num_rows - 1)


def test_a_moved_pack_takes_every_tensor_along():
    pack = random_pack(small_config(), SHAPES)
    pack.predictors  # noqa: B018  cached here, and not to be found on the other device
    moved = pack.to("meta")
    tensors = [getattr(moved, field.name) for field in dataclasses.fields(Pack)]
    tensors += [moved.sample_of_row, moved.position_in_sample, moved.predictors, moved.last_rows]
    assert {tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor)} == {"meta"}
    assert (moved.grids, moved.text_lengths, moved.runs) == (pack.grids, pack.text_lengths, pack.runs)
    assert_same_pack(pack.to("cpu"), pack)


@pytest.mark.parametrize("grid", [(2, 2), (0, 3), (3, 0), (-3, -1)])
def test_a_grid_that_does_not_hold_the_patches_is_refused(grid):
    with pytest.raises(ValueError, match=re.escape(f"grid {grid} does not hold the 3 patches")):
        Sample(np.zeros((3, 48), np.uint8), grid)


def test_supervised_marks_must_match_the_tokens():
    with pytest.raises(ValueError, match="1 supervised marks for 2 token ids: need one each"):
        Sample(np.zeros((1, 48), np.uint8), (1, 1), [1, 2], [True])


def test_an_empty_pack_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        Pack.of([])


def test_bytes_next_to_normalised_patches_are_refused():
    raw, normalised = Sample(np.zeros((1, 48), np.uint8), (1, 1)), Sample(np.zeros((1, 48), np.float32), (1, 1))
    with pytest.raises(ValueError, match=r"float32, uint8"):
        Pack.of([raw, normalised])


def test_patches_of_different_widths_are_refused():
    colour, grey = Sample(np.zeros((1, 48), np.uint8), (1, 1)), Sample(np.zeros((1, 16), np.uint8), (1, 1))
    with pytest.raises(ValueError, match=r"16, 48"):
        Pack.of([colour, grey])


def test_a_pack_is_shown_by_its_sizes():
    pack = random_pack(small_config(), [(2, 3, 4), (1, 1, 0)])
    assert repr(pack) == f"<Pack of 2 samples: 7 patches, 4 text tokens, {pack.patches.dtype}, cpu>"
