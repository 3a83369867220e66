"""`genlip.evaluate.features.neighbours`: against slow loops over images and patches."""

import math

import numpy as np
import pytest

from genlip.evaluate.features.neighbours import nearest_patches, salient_patches

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(40, 6))
IMAGE_OF = np.sort(RANDOM.integers(0, 7, 40))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


@pytest.mark.parametrize("query", [0, 17, 39])
@pytest.mark.parametrize("number", [1, 3, 99])
def test_the_nearest_patches_by_a_slow_loop(query, number):
    best: dict[int, tuple[float, int]] = {}
    for patch in range(40):
        image = int(IMAGE_OF[patch])
        if image != IMAGE_OF[query]:
            best[image] = max(best.get(image, (-2.0, -1)), (cosine(FEATURES[query], FEATURES[patch]), patch))
    expected = sorted(best.values(), reverse=True)[:number]
    patches, cosines = nearest_patches(FEATURES, IMAGE_OF, query, number)
    assert patches.tolist() == [patch for _, patch in expected]
    assert cosines.tolist() == pytest.approx([similarity for similarity, _ in expected])


@pytest.mark.parametrize("number", [0, 2, 99])
def test_what_stands_out_by_a_slow_loop(number):
    mean = [sum(column) / 40 for column in FEATURES.T]
    far = sorted(((math.dist(row, mean), patch) for patch, row in enumerate(FEATURES)), reverse=True)
    expected: list[int] = []
    for _, patch in far:
        if IMAGE_OF[patch] not in IMAGE_OF[expected]:
            expected.append(patch)
    assert salient_patches(FEATURES, IMAGE_OF, number).tolist() == expected[:number]


def test_a_copy_in_another_image_is_found_with_cosine_1_and_one_in_the_same_image_is_not():
    features = FEATURES.astype(np.float32).copy()
    other, same = int(np.flatnonzero(IMAGE_OF == 6)[0]), 1
    assert IMAGE_OF[same] == IMAGE_OF[0] != 6
    features[other], features[same] = 3 * features[0], features[0]
    patches, cosines = nearest_patches(features, IMAGE_OF, 0, 2)
    assert patches[0] == other
    assert cosines[0] == pytest.approx(1, abs=1e-6)
    assert same not in patches


def test_features_of_length_0_are_like_nothing():
    features = FEATURES.copy()
    features[0] = 0
    assert nearest_patches(features, IMAGE_OF, 0, 3)[1].tolist() == [0, 0, 0]
