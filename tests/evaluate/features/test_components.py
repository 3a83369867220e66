"""`genlip.evaluate.features.components`: against scikit-learn and NumPy's SVD, and colours by hand."""

import numpy as np
import pytest

from genlip.evaluate.features.components import as_colours, principal_components

FEATURES = np.random.default_rng(0).normal(size=(200, 12)) @ np.random.default_rng(1).normal(size=(12, 12)) + 3


def test_components_are_those_of_a_singular_value_decomposition():
    found = principal_components(FEATURES)
    _, sizes, directions = np.linalg.svd(FEATURES - FEATURES.mean(axis=0), full_matrices=False)
    signs = np.sign((found.directions * directions[:3]).sum(axis=1))
    np.testing.assert_allclose(found.directions, signs[:, None] * directions[:3], atol=1e-9)
    np.testing.assert_allclose(found.explained, sizes[:3] ** 2 / (sizes**2).sum(), rtol=1e-9)


def test_values_and_signs_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed")
    other = decomposition.PCA(3, svd_solver="full").fit(FEATURES)
    found = principal_components(FEATURES)
    signs = np.sign(other.components_[np.arange(3), np.abs(other.components_).argmax(axis=1)])
    np.testing.assert_allclose(found.values, other.transform(FEATURES) * signs, atol=1e-9)
    np.testing.assert_allclose(found.explained, other.explained_variance_ratio_, rtol=1e-9)


def test_the_largest_entry_of_a_direction_is_positive_whatever_the_order_of_patches():
    found, turned = principal_components(FEATURES), principal_components(-FEATURES[::-1])
    assert (found.directions[np.arange(3), np.abs(found.directions).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(found.directions, turned.directions, atol=1e-9)


def test_features_that_do_not_differ_explain_nothing_and_are_grey():
    found = principal_components(np.full((5, 4), 2.0, dtype=np.float32))
    assert found.explained.tolist() == [0, 0, 0]
    assert as_colours(found.values).tolist() == [[128] * 3] * 5


def test_colours_span_the_middle_of_each_column_and_cut_what_is_far():
    values = np.stack([np.arange(101.0), -np.arange(101.0), np.full(101, 7.0)], axis=1)
    values[100, 0] = 1e9
    shown = as_colours(values, tail=0.1).astype(int)
    assert shown[:11, 0].tolist() == [0] * 11
    assert shown[50].tolist() == [128, 128, 128]
    assert shown[90:, 0].tolist() == [255] * 11
    assert shown[30, 0] == round(255 * 20 / 80)
    assert shown[30, 1] == round(255 * 60 / 80)
