"""Neighbours: the patches of other images that are most similar to a patch.

In: features of the patches of many images. Out: the most distinctive patches, and for each the nearest patch of each of a
few other images, by the cosine of their features. Only one per image, because the patches around a match are similar to it.

Axes: i images, p patches of all images, D width, q queries, n neighbours.
"""

from __future__ import annotations

import numpy as np

__all__ = ["nearest_patches", "salient_patches"]


def salient_patches(features: np.ndarray, image_of: np.ndarray, number: int) -> np.ndarray:
    """Int64[q], the patches that are farthest from the mean of all, farthest first, at most one of each image.

    features  Float[p D]
    image_of  Int[p], the number of each patch's image
    """
    distance = np.linalg.norm(features - features.mean(axis=0), axis=1)
    order = np.argsort(-distance, kind="stable")
    _, first = np.unique(image_of[order], return_index=True)
    return order[np.sort(first)[:number]]


def nearest_patches(features: np.ndarray, image_of: np.ndarray, query: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Int64[n] patches of other images, nearest first and at most one of each image, and Float[n] their cosines.

    Fewer than `number` where there are fewer other images.
    """
    lengths = np.linalg.norm(features, axis=1)
    cosines = features @ features[query] / np.maximum(lengths * lengths[query], np.finfo(features.dtype).tiny)
    order = np.argsort(-cosines, kind="stable")
    order = order[image_of[order] != image_of[query]]
    _, first = np.unique(image_of[order], return_index=True)
    found = order[np.sort(first)[:number]]
    return found, cosines[found]
