"""Packs of dialogues: where features, text and supervised tokens lie."""

import pickle

import numpy as np
import pytest
import torch

from genlip.data.images import Patches
from genlip.mllm.batch import NEWLINE, MLLMPack, MLLMSample, shuffled_grid, shuffled_patches


class Images:
    """What a tower's `collate` returns, with the images themselves."""

    def __init__(self, images):
        self.images = list(images)

    def to(self, device):
        return self

    def pin_memory(self):
        return self


EMPTY = Patches(np.zeros((1, 12), np.uint8), (1, 1), False)


def image(rows, columns):
    return Patches(np.zeros((rows * columns, 12), np.uint8), (rows, columns), False)


def sample(grids, text, supervised, shuffle=1):
    """Images first, then `text` tokens, of which the last ones are supervised."""
    images = tuple(image(*grid) for grid in grids)
    visual = np.arange(sum(int(np.prod(shuffled_grid(grid, shuffle))) for grid in grids))
    is_visual = np.arange(len(visual) + text) < len(visual)
    learned = np.arange(len(is_visual)) >= len(is_visual) - supervised
    return MLLMSample(images, visual, np.arange(100, 100 + len(is_visual)), learned, is_visual)


def packed(samples, shuffle=1):
    return MLLMPack.of(samples, Images, EMPTY, shuffle)


def test_every_visual_token_reads_its_own_feature():
    samples = [sample([(1, 2)], 3, 2), sample([], 2, 1), sample([(2, 2), (1, 1)], 2, 1)]
    pack = packed(samples)
    assert pack.lengths == (5, 2, 7)
    assert pack.visual_rows.tolist() == [0, 1, 7, 8, 9, 10, 11]
    assert pack.visual.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert pack.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 4, 5, 6]
    assert pack.predictors.tolist() == [2, 3, 5, 12]
    assert pack.targets.tolist() == [103, 104, 101, 106]
    assert len(pack.images.images) == pack.num_images == 3
    assert (pack.num_samples, pack.num_rows) == (3, 14)


def test_a_supervised_first_token_has_no_predictor():
    """The row before it belongs to another sample."""
    both = MLLMSample((), np.zeros(0, int), np.array([7, 8]), np.ones(2, bool), np.zeros(2, bool))
    pack = packed([both, both])
    assert pack.predictors.tolist() == [0, 2]
    assert pack.targets.tolist() == [8, 8]


def test_without_images_the_encoder_reads_the_empty_one():
    pack = packed([sample([], 4, 2)])
    assert pack.num_images == 0
    assert pack.images.images == [EMPTY]
    assert pack.visual.tolist() == pack.visual_rows.tolist() == []


def test_newlines_come_after_all_features():
    one = sample([(1, 2)], 2, 1)
    visual = np.array([0, NEWLINE, 1, NEWLINE])
    with_newlines = MLLMSample(
        one.images, visual, np.arange(6), np.arange(6) == 5, np.array([True, True, True, True, False, False])
    )
    pack = packed([with_newlines, with_newlines])
    assert pack.visual.tolist() == [0, 4, 1, 4, 2, 4, 3, 4]


def test_placeholders_and_visual_tokens_must_agree():
    with pytest.raises(ValueError, match="1 placeholders for 2 visual tokens"):
        MLLMSample((), np.arange(2), np.arange(2), np.zeros(2, bool), np.array([True, False]))


@pytest.mark.parametrize("shuffle", [2, 3])
def test_pixel_shuffle_joins_squares_row_by_row(shuffle):
    grids = [(2, 2), (3, 5), (1, 4), (6, 6)]
    found = shuffled_patches(grids, shuffle)
    total, before, expected = sum(r * c for r, c in grids), 0, []
    for rows, columns in grids:
        for top in range(0, rows, shuffle):
            for left in range(0, columns, shuffle):
                square = []
                for row in range(top, top + shuffle):
                    for column in range(left, left + shuffle):
                        inside = row < rows and column < columns
                        square.append(before + row * columns + column if inside else total)
                expected.append(square)
        before += rows * columns
    assert found.tolist() == expected
    assert len(found) == sum(int(np.prod(shuffled_grid(grid, shuffle))) for grid in grids)


def test_shuffled_features_are_counted_per_sample():
    pack = packed([sample([(3, 3)], 2, 1, 2), sample([(2, 2)], 2, 1, 2)], 2)
    assert pack.patches.shape == (5, 4)
    assert pack.visual.tolist() == [0, 1, 2, 3, 4]


def test_a_pack_is_pickled_and_moved():
    pack = packed([sample([(1, 2)], 3, 2)])
    again = pickle.loads(pickle.dumps(pack))
    assert torch.equal(again.token_ids, pack.token_ids)
    assert pack.to("cpu").lengths == pack.lengths
    assert repr(pack) == "<MLLMPack of 1 dialogues: 1 images, 5 tokens>"
