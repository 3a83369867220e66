"""Controls: the images of other questions, dealt so that no question keeps its own.

In: a digest of the images of each question. Out: for each question another one, whose images differ.
Questions about one image often stand side by side, and share it: they must not be dealt to each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["deal_other_images"]


def deal_other_images(digests: Mapping[int, str], seed: int = 0) -> dict[int, int]:
    """For each number of a question, the number of one with other images: the next such in a random ring of all.

    The same seed deals the same way. Raises ValueError if all images are the same.
    """
    if len({*digests.values()}) < 2:
        raise ValueError(f"{len(digests)} questions about the same images: asking with other images needs at least 2 images")
    numbers = list(digests)
    ring = [numbers[place] for place in np.random.default_rng(seed).permutation(len(numbers))]
    places = range(len(ring))
    dealt = {}
    for place in places:
        here = digests[ring[place]]
        dealt[ring[place]] = next(other for step in places if digests[other := ring[(place + step) % len(ring)]] != here)
    return {number: dealt[number] for number in numbers}
