"""Localization: how often the patches of an object predict its words, compared with two controls.

In: for each image the likeliest tokens of its patches, and its objects, each with its words and patches. Out: `Scores`.
A patch says a word where one of its k likeliest tokens counts for it (`WordTokens`). Every pair of an object and one of its
patches counts once. A model that says the same word at every patch would score well by that share alone. Two controls
therefore count words that should not be said:

elsewhere    the object's words at patches that no object with one of these words touches. A patch that holds less than half
             of an object is neither in place nor elsewhere: saying the object's word there is no mistake.
other image  at the object's patches, the words of the objects of another image that have as many words, each in turn.

Axes: i images, p patches of an image, k tokens of a patch, n tokens of a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genlip.evaluate.aggregators import ratio, ratio_difference
from genlip.evaluate.readout.word_tokens import WordTokens
from genlip.evaluate.scores import Scores

__all__ = ["ANY", "KINDS", "PatchTokens", "Place", "Slot", "evidence", "localization_scores", "slots"]

KINDS = ("in place", "elsewhere", "other image", "in place - elsewhere", "in place - other image")


class Place(NamedTuple):
    """An object among the patches of its image.

    Attributes:
        words: what it is called.
        own: Bool[p], the patches that belong to it.
        touched: Bool[p], the patches that it covers however little.
    """

    words: tuple[str, ...]
    own: np.ndarray
    touched: np.ndarray


class PatchTokens(NamedTuple):
    """An image: Int64[p k] the likeliest tokens of its patches, likeliest first, and its objects."""

    ids: np.ndarray
    places: tuple[Place, ...]


class Slot(NamedTuple):
    """Which words count: the one at a position, from 0, of objects of so many words; or any word of any object."""

    position: int | None
    words: int

    @property
    def name(self) -> str:
        """In words, with positions from 1."""
        return "any word" if self.position is None else f"word {self.position + 1} of {self.words}"

    def of(self, place: Place) -> tuple[str, ...]:
        """The words of an object that count; none where it has another number of words."""
        if self.position is None:
            return place.words
        return (place.words[self.position],) if len(place.words) == self.words else ()


ANY = Slot(None, 0)


def slots(images: Sequence[PatchTokens]) -> list[Slot]:
    """`ANY`, and each position of a word where some object has several."""
    counts = sorted({len(place.words) for image in images for place in image.places})
    several = [Slot(position, words) for words in counts for position in range(words)]
    return [ANY] if counts in ([], [1]) else [ANY, *several]


def localization_scores(images: Sequence[PatchTokens], tokens: WordTokens, seed: int = 0) -> dict[str, Scores]:
    """The five `KINDS` of scores, and the same again for each further slot, as "word 1 of 2, in place".

    The other image is chosen as in `held_out`: each image is the other image of one. Raises ValueError for fewer than 2.
    """
    if len(images) < 2:
        raise ValueError(
            f"{len(images)} images with known objects that can be used: comparing with the words of another image needs 2"
        )
    ring = np.random.default_rng(seed).permutation(len(images))
    other = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
    found: dict[str, Scores] = {}
    for slot in slots(images):
        rows = np.stack([evidence(image, images[other[i]], slot, tokens) for i, image in enumerate(images)])
        prefix = "" if slot == ANY else f"{slot.name}, "
        found |= {f"{prefix}{kind}": scores for kind, scores in zip(KINDS, _scores(rows), strict=True)}
    return found


def evidence(image: PatchTokens, other: PatchTokens, slot: Slot, tokens: WordTokens) -> np.ndarray:
    """Float64[6]: patches that say the words and patches in all, for in place, elsewhere and other image in turn."""
    counts = np.zeros((3, 2))
    for place in image.places:
        if words := slot.of(place):
            ids = _ids(words, tokens)
            counts[0] += _said(image.ids[place.own], ids)
            counts[1] += _said(image.ids[~_touched(image, ids, tokens)], ids)
            for stranger in other.places:
                if len(stranger.words) == len(place.words):
                    counts[2] += _said(image.ids[place.own], _ids(slot.of(stranger), tokens))
    return counts.ravel()


def _scores(rows: np.ndarray) -> list[Scores]:
    """Float[i 6] evidence as the five `KINDS`."""
    alone = [Scores(rows[:, start : start + 2], ratio) for start in (0, 2, 4)]
    return [*alone, *(Scores(rows[:, [0, 1, start, start + 1]], ratio_difference) for start in (2, 4))]


def _ids(words: Sequence[str], tokens: WordTokens) -> np.ndarray:
    return np.concatenate([tokens.ids(word) for word in words])


def _said(tokens: np.ndarray, ids: np.ndarray) -> tuple[int, int]:
    """Of patches, Int64[p k], how many have one of the ids, and how many there are."""
    return int(np.isin(tokens, ids).any(axis=1).sum()), len(tokens)


def _touched(image: PatchTokens, ids: np.ndarray, tokens: WordTokens) -> np.ndarray:
    """Bool[p], where any object lies that one of the ids may speak of."""
    alike = [place.touched for place in image.places if np.isin(_ids(place.words, tokens), ids).any()]
    return np.any(alike, axis=0)
