"""`genlip.data.examples`: which of several captions is read."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.examples import Choice, Turn, pick, plain_text

from .helpers import examples

TALK = (Turn("What is it?", False), Turn("A cat.", True))
LETTERS = "abcdefgh"


def even(number: int) -> Choice:
    return Choice(tuple(LETTERS[:number]), (1 / number,) * number)


@pytest.mark.parametrize("caption", ["", "a cat", (), TALK])
def test_what_is_no_choice_is_read_as_it_is(caption):
    assert pick(caption, 1, 2, 3) is caption


@pytest.mark.parametrize(
    ("along", "chances"),
    [
        ("indices", (0.5, 0.5)),
        ("indices", (0.8, 0.2)),
        ("indices", (0.97, 0.01, 0.02)),
        ("indices", (0.0001, 0.9999)),
        ("epochs", (1 / 7,) * 7),
        ("seeds", (0.8, 0.2)),
    ],
)
def test_captions_are_read_as_often_as_their_chances_say(along, chances):
    choice, number = Choice(tuple(LETTERS[: len(chances)]), chances), 20_000
    place = {"seeds": 0, "epochs": 1, "indices": 2}[along]
    read = [pick(choice, *np.insert([5, 7], place, i).tolist()) for i in range(number)]
    for letter, chance in zip(LETTERS, chances, strict=False):
        deviation = math.sqrt(number * chance * (1 - chance))  # of a binomial count
        assert abs(read.count(letter) - number * chance) <= 4.5 * deviation


def test_neighbouring_draws_are_independent():
    choice, number = even(2), 20_000
    read = [[pick(choice, 0, epoch, i) for i in range(number)] for epoch in (0, 1)]
    pairs = [*zip(read[0], read[1], strict=True)], [*zip(read[0], read[0][1:], strict=False)]
    for found in pairs:
        assert abs(found.count(("a", "a")) - number / 4) <= 4.5 * math.sqrt(number * 3 / 16)


def test_the_choice_is_the_same_on_every_machine():
    """Recorded once: a run that goes on elsewhere must read the same captions."""
    assert "".join(pick(even(8), 0, 0, index) for index in range(20)) == "fdeghhfbbgdfgbdgbbgh"
    assert "".join(pick(even(8), 3, epoch, 10**9) for epoch in range(20)) == "cbbccehcgfcdhfddeedh"


def test_the_choice_follows_the_first_number_of_the_bit_stream():
    for key in ((0, 0, 0), (3, 1, 4), (2**40, 10, 10**10)):
        share = int(np.random.PCG64(np.random.SeedSequence(key)).random_raw()) / 2**64
        assert pick(even(8), *key) == LETTERS[int(share * 8)]


@given(weights=st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), seed=st.integers(0, 2**63), index=st.integers(0, 2**40))
@examples(200)
def test_every_choice_gives_one_of_its_captions(weights, seed, index):
    choice = Choice(tuple(LETTERS[: len(weights)]), tuple(weight / sum(weights) for weight in weights))
    assert pick(choice, seed, 0, index) in choice.captions


class Highest:
    """A bit generator at the end of its range, where dividing rounds up to 1."""

    def __init__(self, key):
        pass

    def random_raw(self):
        return np.uint64(2**64 - 1)


def test_the_highest_number_reads_the_last_caption(monkeypatch):
    monkeypatch.setattr(np.random, "PCG64", Highest)
    assert pick(Choice(("a", "b", "c"), (0.1, 0.2, 0.7)), 0, 0, 0) == "c"


def test_a_choice_may_hold_conversations():
    choice = Choice((TALK, "a cat"), (0.5, 0.5))
    assert {pick(choice, 0, 0, index) for index in range(20)} == {TALK, "a cat"}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cat", "a cat"),
        ("", ""),
        (TALK, "What is it?\nA cat."),
        ((), ""),
        (Choice(("a", "b", "c"), (0.2, 0.5, 0.3)), "b"),
        (Choice(("a", "b"), (0.5, 0.5)), "a"),
        (Choice(("a", TALK), (0.1, 0.9)), "What is it?\nA cat."),
    ],
)
def test_plain_text_is_the_likeliest_caption_line_by_line(caption, expected):
    assert plain_text(caption) == expected
