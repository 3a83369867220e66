"""`genlip.data.dialogues.sampling`: exact indices of every strategy, and LLaVA's rules for their number."""

import logging
import math

import numpy as np
import pytest

from genlip.data.dialogues.sampling import check_strategy, sampled

from ..helpers import numbered


def indices(strategy, length=10):
    assert not check_strategy(strategy)
    found = sampled(numbered(length, "n"), strategy)
    keys = [int(found[place].key.split()[1]) for place in range(len(found))]
    assert found.name == "n"
    return keys


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("first:3", [0, 1, 2]),
        ("end:3", [7, 8, 9]),
        ("first:20%", [0, 1]),
        ("end:20%", [8, 9]),
        ("first:21%", [0, 1, 2]),  # rounded up
        ("end:0.5%", [9]),
        ("first:100%", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("end:10", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("random:100%", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("random:3", [1, 4, 7]),
        ("random:30%", [1, 4, 7]),
        ("random:7", [0, 2, 3, 5, 6, 8, 9]),
    ],
)
def test_the_samples_of_a_strategy(strategy, expected):
    assert indices(strategy) == expected


@pytest.mark.parametrize("wanted", [1, 400, 500, 501, 999])
def test_random_takes_different_samples_in_their_order(wanted):
    found = indices(f"random:{wanted}", 1000)
    assert found == sorted(set(found))
    assert len(found) == wanted
    assert found == indices(f"random:{wanted}", 1000)
    if wanted in (400, 501):  # evenly from everywhere
        assert all(abs(np.sum(np.array(found) // 250 == part) - wanted / 4) < 40 for part in range(4))


def test_random_is_the_stream_of_a_bit_generator():
    """The first different numbers of it; of more than a half, they are left out."""
    few = sorted([*dict.fromkeys(int(raw) % 100 for raw in np.random.PCG64(0).random_raw(50))][:8])
    assert indices("random:8", 100) == few
    assert indices("random:92", 100) == [place for place in range(100) if place not in few]


@pytest.mark.parametrize("length", [1, 7, 99, 1003])
@pytest.mark.parametrize("percent", [1, 10, 33, 50, 99])
def test_shares_are_rounded_up_as_in_llava(length, percent):
    expected = math.ceil(percent * length / 100)
    for kind in ("first", "end", "random"):
        assert len(indices(f"{kind}:{percent}%", length)) == expected


@pytest.mark.parametrize("strategy", ["first:11", "end:11", "random:11"])
def test_a_small_data_set_gives_all_and_it_is_told(strategy, caplog):
    with caplog.at_level(logging.WARNING):
        assert indices(strategy) == list(range(10))
    assert caplog.messages == [f"n: {strategy} of 10 samples: all of them are taken"]


@pytest.mark.parametrize(
    "strategy",
    [
        "",
        "some",
        "first",
        "end:",
        "random:x",
        "all:3",
        "first:-1",
        "first:1.5",
        "first:5 %",
        "first:10%%",
        "all:",
        3,
        None,
        ["all"],
    ],
)
def test_other_strategies_are_refused(strategy):
    found = check_strategy(strategy)
    assert found.startswith("sampling_strategy ")
    assert "need all, or first, end or random with a number or a share, as in first:1000 or random:10%" in found


@pytest.mark.parametrize("strategy", ["first:0", "end:0%", "random:0.0%", "first:101%", "random:100.5%"])
def test_numbers_without_a_meaning_are_refused(strategy):
    assert check_strategy(strategy) == (
        f"sampling_strategy {strategy!r}; need a number from 1, or a share above 0 % and up to 100 %"
    )
