"""`genlip.data.sources.base`: parts of a source against plain lists."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.examples import Choice, Example, Turn, Unusable
from genlip.data.sources import Procedural, Subset, Without, corpus

from ..helpers import InMemory, examples, held, numbered


@given(length=st.integers(1, 40), data=st.data())
@examples(100)
def test_a_subset_is_a_list_of_the_chosen_in_their_order(length, data):
    source = numbered(length)
    indices = data.draw(st.lists(st.integers(0, length - 1), max_size=50))
    for given_as in (indices, tuple(indices), np.array(indices, np.int64), np.array(indices, np.uint16)):
        subset = Subset(source, given_as)
        assert [subset[i] for i in range(len(subset))] == [source[i] for i in indices]
        assert [subset.caption(i) for i in range(len(subset))] == [source.caption(i) for i in indices]
        assert subset.name == source.name


def test_a_subset_of_a_subset_and_of_a_rest():
    source = numbered(10)
    assert held(Subset(Subset(source, [7, 2, 2, 9]), [3, 0])) == held(Subset(source, [9, 7]))
    assert held(Subset(Without(source, [0, 1]), [0, 7])) == held(Subset(source, [2, 9]))


def test_a_subset_ends_with_its_indices():
    subset = Subset(numbered(10), np.array([7, 2]))
    with pytest.raises(IndexError):
        subset[2]
    assert [example.key for example in subset] == ["numbers 7", "numbers 2"]


@given(length=st.integers(1, 60), data=st.data())
@examples(300)
def test_without_is_a_list_with_the_left_out_struck(length, data):
    source = numbered(length)
    left_out = data.draw(st.lists(st.integers(0, length - 1), max_size=70))  # in any order, some of them twice
    expected = [source[i] for i in range(length) if i not in left_out]
    for given_as in (left_out, np.array(left_out, np.int64)):
        rest = Without(source, given_as)
        assert len(rest) == len(expected)
        assert [rest[i] for i in range(len(rest))] == expected
        assert [rest.caption(i) for i in range(len(rest))] == [example.caption for example in expected]


@given(left_out=st.sets(st.integers(0, 29)), again=st.sets(st.integers(0, 29)))
@examples(100)
def test_more_can_be_left_out_of_a_rest(left_out, again):
    kept = [i for i in range(30) if i not in left_out]
    again = {i for i in again if i < len(kept)}
    rest = Without(Without(numbered(30), sorted(left_out)), sorted(again))
    assert [rest[i].key for i in range(len(rest))] == [f"numbers {k}" for i, k in enumerate(kept) if i not in again]


def test_a_loop_over_a_rest_ends_with_it():
    rest = Without(numbered(5), [4, 1])
    assert [example.key for example in rest] == ["numbers 0", "numbers 2", "numbers 3"]
    for outside in (-1, 3, 4):
        for read in (rest.__getitem__, rest.caption):
            with pytest.raises(IndexError, match=f"^numbers: example {outside} of 3$"):
                read(outside)


def test_all_may_be_left_out():
    assert len(Without(numbered(3), [0, 1, 2])) == 0


@pytest.mark.parametrize("outside", [-1, 5])
def test_only_what_is_there_can_be_left_out(outside):
    with pytest.raises(IndexError, match=f"^numbers: cannot leave out example {outside} of 5$"):
        Without(numbered(5), [2, outside])


def test_a_rest_survives_pickling():
    rest = Without(numbered(9), [3, 4])
    again = pickle.loads(pickle.dumps(rest))
    assert (held(again), again.name) == (held(rest), "numbers")


def test_a_rest_costs_memory_for_what_was_left_out_only():
    source, left_out = Procedural("scenes", 0, length=10**12), np.arange(0, 10**12, 10**9)
    tracemalloc.start()
    rest = Without(source, left_out)
    cost = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(rest) == 10**12 - 1000
    assert cost < 8 * 1000 + 2000
    assert len(pickle.dumps(rest)) < 8 * 1000 + 2000
    assert [rest._index(i) for i in (0, 10**9 - 2, 10**9 - 1, 10**12 - 1001)] == [1, 10**9 - 1, 10**9 + 1, 10**12 - 1]


# -- a corpus


@given(length=st.integers(0, 50), number=st.integers(0, 60))
@examples(100)
def test_a_corpus_is_taken_evenly_and_never_twice(length, number):
    taken = [int(text.split()[1]) for text in corpus(numbered(length), number)]
    assert len(taken) == min(length, number)
    if taken:
        steps = np.diff([*taken, length])
        assert taken[0] == 0
        assert 1 <= min(steps) <= max(steps) <= min(steps) + 1


class Unread(InMemory):
    """Examples of which the second cannot be read."""

    def caption(self, index):
        if index == 1:
            raise Unusable("damaged", "1: damaged")
        return super().caption(index)


def test_a_corpus_holds_plain_texts_of_what_can_be_read():
    talk = (Turn("What?", False), Turn("A cat.", True))
    captions = ["one", "lost", Choice(("two", "three"), (0.4, 0.6)), talk]
    source = Unread([Example(str(i), b"", caption) for i, caption in enumerate(captions)])
    assert list(corpus(source, 10)) == ["one", "three", "What?\nA cat."]
