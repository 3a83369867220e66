"""`genlip.data.order`: every sample once per epoch, as the slow model deals it, wherever one starts."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.order import Draw, Order

from . import slow_order
from .helpers import examples

orders = st.builds(
    Order,
    length=st.integers(1, 400),
    seed=st.integers(0, 2**40),
    streams=st.integers(1, 9),
    block=st.integers(1, 70),
    window=st.integers(1, 60),
)


@given(order=orders, epochs=st.integers(0, 11))
@examples(150)
def test_it_is_the_slow_models_order(order, epochs):
    for stream in range(order.streams):
        expected = slow_order.stream(order.length, order.seed, order.streams, order.block, order.window, stream, epochs)
        assert order.draws(stream, range(order.end(stream, epochs))) == expected


@given(order=orders, epochs=st.integers(1, 12))
@examples(150)
def test_every_epoch_holds_every_sample_once_over_all_streams(order, epochs):
    drawn = Counter(d for s in range(order.streams) for d in order.draws(s, range(order.end(s, epochs))))
    assert drawn == {Draw(epoch, index): 1 for epoch in range(epochs) for index in range(order.length)}


def test_blocks_of_neighbours_stay_whole_in_a_long_source():
    order = Order(length=64 * 64 * 2 + 17, streams=2, block=64, window=1)
    for stream in range(2):
        indices = [number for _, number in order.draws(stream, range(order.end(stream, 1)))]
        jumps = sum(after != before + 1 for before, after in pairwise(indices))
        assert jumps <= len(indices) / 64 + 2  # the short block and a cut one besides


def test_a_window_shuffles_and_keeps_to_itself():
    plain, shuffled = (Order(length=100_000, streams=4, window=window) for window in (1, 500))
    for start in range(0, 5000, 500):
        before, after = (order.draws(1, range(start, start + 500)) for order in (plain, shuffled))
        assert before != after
        assert sorted(before) == sorted(after)


def test_streams_live_on_where_there_are_more_of_them_than_samples():
    order = Order(length=3, streams=8)
    for stream in range(8):
        drawn = order.draws(stream, range(9))
        assert len({index for _, index in drawn}) > 1
        assert [epoch for epoch, _ in drawn] == sorted(
            {epoch for epoch, _ in drawn}
        )  # one sample in some epochs, none in others


def test_seeds_and_epochs_have_orders_of_their_own():
    drawn = [
        tuple(d.number for d in Order(50, seed).draws(0, range(epoch * 50, epoch * 50 + 50)))
        for seed in range(5)
        for epoch in range(5)
    ]
    assert len(set(drawn)) == 25


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_order_of_a_small_source_occurs(length):
    order = Order(length)
    drawn = {tuple(d.number for d in order.draws(0, range(e * length, (e + 1) * length))) for e in range(100)}
    assert len(drawn) == [1, 2, 6][length - 1]


def test_the_order_is_that_of_the_first_release():
    # A run may be resumed by a later release, or with a later NumPy, and must go on with the samples that it has not seen.
    assert [d.number for d in Order(10, 0).draws(0, range(10))] == FIRST
    assert [tuple(d) for d in Order(1_000_000, 7, streams=32).draws(5, range(40_000, 40_004))] == LATER


FIRST = [0, 8, 5, 7, 2, 6, 4, 1, 3, 9]
LATER = [(1, 512722), (1, 212141), (1, 505118), (1, 57424)]


def test_a_billion_samples_cost_little_memory():
    script = (
        "import resource, sys, time; from genlip.data.order import Order\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); Order(200_000_000, streams=8).draws(3, range(5000)); print((peak() - before) / 200_000_000)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1  # byte per sample


@pytest.mark.parametrize("wrong", [{"length": 0}, {"streams": 0}, {"block": -1}, {"window": 0}, {"seed": -1}])
def test_impossible_orders_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        Order(**{"length": 5, **wrong})
