"""Caption scores: how close captions are to the references that people wrote, by exact match, BLEU-4, ROUGE-L and CIDEr-D.

In: a caption for each image, and the references of each image. Out: `Scores`, of the set and of each image, in [0, 1] and
for CIDEr-D in [0, 10]; papers print them times 100. The definitions are those of the reference implementation
(pycocoevalcap 1.2), with its smoothing, its penalties and its oddities, because published figures are made with it.

All raise ValueError for an empty set, differing numbers of images, and an image without references.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genlip.evaluate.aggregators import bleu
from genlip.evaluate.captioning.alignment import longest_common
from genlip.evaluate.captioning.caption_words import caption_words
from genlip.evaluate.scores import Scores, require_references

__all__ = ["bleu4", "cider_d", "exact_match", "rouge_l"]

_LONGEST = 4  # words of the longest n-gram
_BETA = 1.2  # of ROUGE-L: how much more recall counts than precision
_SIGMA = 6.0  # of CIDEr-D: words of difference in length that are forgiven

Grams = Counter[tuple[str, ...]]


def exact_match(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Whether a caption is one of its references, to the letter; white space around them does not count."""
    require_references(candidates, references)
    pairs = zip(candidates, references, strict=True)
    return Scores.mean([float(told.strip() in {one.strip() for one in some}) for told, some in pairs])


# -- BLEU-4


def bleu4(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Geometric mean of the precisions of 1- to 4-grams over the set, times a penalty for captions that are too short.

    An n-gram is correct as often as the reference that has most of it has it. Lengths are compared with the closest
    reference, the shorter of two. An image by itself scores the same formula: nearly 0 if it shares no 4-gram.
    """
    require_references(candidates, references)
    rows = [_bleu_evidence(told, some) for told, some in zip(candidates, references, strict=True)]
    return Scores(np.array(rows, dtype=np.float64), bleu)


def _bleu_evidence(candidate: str, references: Sequence[str]) -> list[int]:
    """Words, words of the closest reference, n-grams for n of 1 to 4, and how many of each are correct."""
    words, others = caption_words(candidate), [caption_words(one) for one in references]
    most: Grams = Counter()
    for other in others:
        most |= _grams(other)
    correct = Counter(len(gram) for gram in (_grams(words) & most).elements())
    sizes = range(1, _LONGEST + 1)
    closest = min((len(other) for other in others), key=lambda length: (abs(length - len(words)), length))
    return [len(words), closest, *(max(0, len(words) - n + 1) for n in sizes), *(correct[n] for n in sizes)]


# -- ROUGE-L


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Words in common in the same order, as a weighted mean of precision and recall; the mean over images.

    The best precision and the best recall may come from different references.
    """
    require_references(candidates, references)
    return Scores.mean([_rouge(told, some) for told, some in zip(candidates, references, strict=True)])


def _rouge(candidate: str, references: Sequence[str]) -> float:
    # To the reference implementation, a caption without words is one empty word.
    words, *others = [caption_words(text) or [""] for text in (candidate, *references)]
    common = [longest_common(words, other) for other in others]
    precision = max(common) / len(words)
    recall = max(some / len(other) for some, other in zip(common, others, strict=True))
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision) if precision else 0.0


# -- CIDEr-D


class _Weighted(NamedTuple):
    """The n-grams of a text, for each n: weights, and the length of that vector; and how many 2-grams it has."""

    weights: list[dict[tuple[str, ...], float]]
    norms: list[float]
    pairs: int


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Likeness of n-grams to those of each reference, weighted by how rare they are; the mean over images.

    An n-gram weighs log(images / images whose references have it), of this very set: the score depends on the set, and
    for a single image, where nothing is rare, it is 0. N-grams that a caption repeats count no more often than the
    reference has them; a difference in length costs. 10 is for a caption like its only reference, of four words at least.
    """
    require_references(candidates, references)
    told = [_grams(caption_words(text)) for text in candidates]
    true = [[_grams(caption_words(text)) for text in some] for some in references]
    frequency = Counter(gram for some in true for gram in set().union(*some))
    images = len(true)
    return Scores.mean([_cider(one, some, frequency, images) for one, some in zip(told, true, strict=True)])


def _cider(candidate: Grams, references: Sequence[Grams], frequency: Grams, images: int) -> float:
    told = _weigh(candidate, frequency, images)
    likeness = [_likeness(told, _weigh(one, frequency, images)) for one in references]
    return 10 * sum(likeness) / len(likeness)


def _weigh(grams: Grams, frequency: Grams, images: int) -> _Weighted:
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(_LONGEST)]
    for gram, times in grams.items():
        weights[len(gram) - 1][gram] = times * (math.log(images) - math.log(max(1, frequency[gram])))
    norms = [math.sqrt(sum(weight**2 for weight in some.values())) for some in weights]
    return _Weighted(weights, norms, sum(times for gram, times in grams.items() if len(gram) == 2))


def _likeness(told: _Weighted, true: _Weighted) -> float:
    """The mean over n of clipped cosines, in [0, 1], times the penalty for length."""
    cosines = []
    for mine, theirs, norm in zip(told.weights, true.weights, np.multiply(told.norms, true.norms), strict=True):
        product = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs)
        cosines.append(product / norm if norm else 0.0)
    # The reference measures length in 2-grams: no word is as long as one word.
    return float(np.mean(cosines)) * math.exp(-((told.pairs - true.pairs) ** 2) / (2 * _SIGMA**2))


def _grams(words: Sequence[str]) -> Grams:
    """How often each n-gram occurs, for n of 1 to 4."""
    return Counter(tuple(words[start : start + n]) for n in range(1, _LONGEST + 1) for start in range(len(words) - n + 1))
