"""`genlip.evaluate.readout.object_patches`: shares against a fine raster, and which patches are an object's own."""

import numpy as np
import pytest

from genlip.evaluate.readout.object_patches import covered, own_patches


def by_raster(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Every pixel cut so finely that patches end between the pieces; then a plain count."""
    (rows, columns), (height, width) = grid, mask.shape
    fine = mask.repeat(rows, axis=0).repeat(columns, axis=1)  # each patch is height x width of it
    patches = [
        fine[r * height : (r + 1) * height, c * width : (c + 1) * width].mean() for r in range(rows) for c in range(columns)
    ]
    return np.array(patches)


@pytest.mark.parametrize(("size", "grid"), [((8, 8), (2, 2)), ((7, 11), (3, 4)), ((5, 3), (8, 7)), ((1, 1), (2, 3))])
def test_shares_are_exact_where_patches_end_within_pixels(size, grid):
    mask = np.random.default_rng(0).random(size) < 0.4
    mask[0, 0] = True
    np.testing.assert_allclose(covered(mask, grid), by_raster(mask, grid), atol=1e-12)


def test_an_object_owns_the_patches_that_it_covers_by_half():
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :6] = True  # all of the first patch, half of the second
    assert own_patches(covered(mask, (2, 2))).tolist() == [True, True, False, False]
    mask[0, 5] = False  # a hair below the half
    assert own_patches(covered(mask, (2, 2))).tolist() == [True, False, False, False]


def test_half_is_half_where_thirds_do_not_add_up():
    mask = np.zeros((1, 10), dtype=bool)
    mask[0, :5] = True
    assert own_patches(covered(mask, (1, 3))).tolist() == [True, True, False]


def test_a_small_object_owns_the_patch_that_it_covers_most_and_nothing_owns_none():
    mask = np.zeros((8, 8), dtype=bool)
    mask[3:6, 5] = True  # one pixel above the border, two below
    assert own_patches(covered(mask, (2, 2))).tolist() == [False, False, False, True]
    assert not own_patches(covered(np.zeros((8, 8), dtype=bool), (2, 2))).any()
