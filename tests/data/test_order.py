"""`genlip.data.order`: every sample once per epoch, wherever one starts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.order import order

from .helpers import examples


@given(seed=st.integers(0, 2**40), length=st.integers(1, 40), epoch=st.integers(0, 9))
@examples(100)
def test_every_epoch_holds_every_sample_once(seed, length, epoch):
    assert sorted(order(seed, length, epoch * length, (epoch + 1) * length).tolist()) == list(range(length))


@given(length=st.integers(1, 30), stops=st.lists(st.integers(0, 120), min_size=2, max_size=6))
@examples(100)
def test_a_run_in_pieces_is_the_run_in_one(length, stops):
    stops.sort()
    pieces = [order(5, length, start, stop) for start, stop in pairwise(stops)]
    assert np.concatenate(pieces).tolist() == order(5, length, stops[0], stops[-1]).tolist()


@given(length=st.integers(1, 30), start=st.integers(0, 90), number=st.integers(0, 90))
@examples(100)
def test_a_stretch_over_epochs_is_taken_position_by_position(length, start, number):
    epochs = [order(5, length, epoch * length, (epoch + 1) * length) for epoch in range(181 // length + 1)]
    expected = [int(epochs[p // length][p % length]) for p in range(start, start + number)]
    indices = order(5, length, start, start + number)
    assert (indices.tolist(), indices.dtype) == (expected, np.int64)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(order(seed, 50, epoch * 50, (epoch + 1) * 50).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_changing_an_order_does_not_change_the_next():
    before = order(0, 20, 0, 20)
    before[:] = 0
    assert sorted(order(0, 20, 0, 20).tolist()) == list(range(20))


def test_the_order_is_that_of_the_first_release():
    # A run may be resumed by a later release, and must go on with the samples that it has not seen.
    assert order(0, 10, 0, 10).tolist() == np.random.default_rng((0, 0)).permutation(10).tolist()
    assert order(7, 10, 30, 40).tolist() == np.random.default_rng((7, 3)).permutation(10).tolist()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_order_of_a_small_source_occurs(length):
    orders = {tuple(order(0, length, epoch * length, (epoch + 1) * length).tolist()) for epoch in range(100)}
    assert len(orders) == [1, 2, 6][length - 1]
