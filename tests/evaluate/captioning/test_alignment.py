"""Alignment: known distances, and both counts against the definitions, by recursion over random sequences."""

import random
from functools import cache
from itertools import combinations

import pytest

from genlip.evaluate.captioning.alignment import edits, longest_common


def edits_by_recursion(one: str, other: str) -> int:
    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return of(len(one), len(other))


def common_by_trying(one: str, other: str) -> int:
    """The longest of all subsequences of both."""
    found = [{part for n in range(len(text) + 1) for part in combinations(text, n)} for text in (one, other)]
    return max(map(len, found[0] & found[1]))


def random_pairs(letters: str, number: int) -> list[tuple[str, str]]:
    draw = random.Random(0)
    return [tuple("".join(draw.choices(letters, k=draw.randrange(9))) for _ in range(2)) for _ in range(number)]


@pytest.mark.parametrize(
    ("one", "other", "distance", "common"),
    [
        ("kitten", "sitting", 3, 4),
        ("", "abc", 3, 0),
        ("abc", "", 3, 0),
        ("", "", 0, 0),
        ("abc", "abc", 0, 3),
        ("ab", "ba", 2, 1),
    ],
)
def test_known_cases(one, other, distance, common):
    assert edits(one, other) == distance
    assert longest_common(one, other) == common


@pytest.mark.parametrize(("one", "other"), random_pairs("abc", 60))
def test_counts_are_those_of_the_definitions(one, other):
    assert edits(one, other) == edits_by_recursion(one, other)
    assert longest_common(one, other) == common_by_trying(one, other)


def test_items_may_be_words():
    assert edits(["a", "red", "dog"], ["a", "dog"]) == 1
    assert longest_common(["a", "red", "dog"], ["dog", "a", "red"]) == 2
