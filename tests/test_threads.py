"""The number of threads: on simulated machines, quiet, busy and changing; never timed."""

import os
import random
from collections.abc import Callable

import pytest
import torch

from genlip import threads
from genlip.threads import Change, Chooser, Threads

Machine = Callable[[float, int], float]  # seconds since the start, threads -> units per second

QUIET = {1: 215.0, 2: 320.0}
BESIDE_ONE = {1: 210.0, 2: 75.0}
BESIDE_FIVE = {1: 150.0, 2: 9.0}


def simulate(
    machine: Machine, seconds: float, most: int = 2, units: float = 64.0, noise: float = 0.0
) -> tuple[float, list[tuple[float, int]], list[Change]]:
    """Units done by a chooser, what it had chosen at which times, and its changes."""
    chooser, rng = Chooser(most), random.Random(0)
    now, done, chosen, changes = 0.0, 0.0, [(0.0, chooser.chosen)], []
    while now < seconds:
        took = units / (machine(now, chooser.threads) * rng.uniform(1 - noise, 1 + noise))
        now, done = now + took, done + units
        if change := chooser.done(units, took):
            changes.append(change)
            chosen.append((now, chooser.chosen))
    return done / now, chosen, changes


def steady(rates: dict[int, float]) -> Machine:
    return lambda now, number: rates[number]


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    ("rates", "share", "within"), [(QUIET, 0.985, 0), (BESIDE_ONE, 0.93, 5), (BESIDE_FIVE, 0.5, 25)], ids=str
)
def test_nearly_all_the_time_goes_to_the_fastest_number(rates, share, within, noise):
    """One that knew the rates would do 100 %; comparing costs some, and so do the slow pieces of the start."""
    best = max(rates, key=rates.get)
    rate, chosen, _ = simulate(steady(rates), 60, noise=noise)
    assert chosen[-1][1] == best
    assert chosen[-1][0] <= within
    assert rate > share * rates[best]


@pytest.mark.parametrize("rates", [QUIET, BESIDE_ONE, BESIDE_FIVE], ids=str)
def test_comparing_costs_a_few_percent_in_the_long_run(rates):
    rate, _, changes = simulate(steady(rates), 3600)
    assert rate > 0.965 * max(rates.values())
    assert len(changes) <= 1


def test_a_machine_that_becomes_busy_is_noticed_within_seconds_and_a_quiet_one_within_a_minute():
    def machine(now: float, number: int) -> float:
        return (BESIDE_ONE if 100 <= now < 200 else QUIET)[number]

    _, chosen, changes = simulate(machine, 400, noise=0.05)
    assert [number for _, number in chosen] == [2, 1, 2]
    assert 100 < chosen[1][0] < 105
    assert 200 < chosen[2][0] < 262
    assert [(change.before, change.threads) for change in changes] == [(2, 1), (1, 2)]
    assert all(change.rates[change.threads] > 1.05 * change.rates[change.before] for change in changes)


def test_noise_alone_changes_nothing():
    _, chosen, _ = simulate(steady({1: 100.0, 2: 103.0}), 3600, noise=0.05)
    assert chosen == [(0.0, 2)]


@pytest.mark.parametrize(("busy", "best"), [(0, 8), (1, 7), (4, 4), (8, 8)])
def test_many_cores_leave_the_busy_ones_out(busy, best):
    """Each operator waits for its slowest thread, which has a quarter of a core where others run."""

    def machine(now: float, number: int) -> float:
        return 100 * number * (1 if number <= 8 - busy else 0.25)

    _, chosen, _ = simulate(machine, 60, most=8)
    assert Chooser(8).numbers == [8, 7, 4, 1]
    assert chosen[-1][1] == best


@pytest.mark.parametrize("units", [0.5, 2000.0])
def test_short_and_long_pieces_are_measured_alike(units):
    _, chosen, _ = simulate(steady(BESIDE_ONE), 300, units=units)
    assert chosen[-1][1] == 1


def test_the_slow_first_seconds_do_not_count():
    chooser = Chooser(2)
    for _ in range(4):
        chooser.done(64, 0.5)
    assert chooser.threads == 2
    for _ in range(2):
        chooser.done(64, 0.2)
    assert chooser.threads == 1
    chooser.done(64, 0.3)  # clearly slower: one piece is enough
    assert (chooser.threads, chooser.chosen) == (2, 2)


def test_pieces_without_work_or_time_are_passed_over():
    chooser = Chooser(2)
    for _ in range(100):
        assert chooser.done(0, 1.0) is None
        assert chooser.done(64, 0.0) is None
    assert chooser.threads == 2


def test_one_thread_leaves_nothing_to_choose():
    assert Chooser(1).numbers == [1]
    assert all(Chooser(1).done(64, 1.0) is None for _ in range(10))


@pytest.fixture
def two_processors(monkeypatch):
    """PyTorch's own number on a machine with two processors, where nobody has set another."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_is_used_and_put_back(two_processors):
    with Threads() as chosen:
        assert (str(chosen), chosen.fixed, chosen.number) == ("up to 2 threads", False, 2)
        changes = [chosen.done(64, 64 / BESIDE_ONE[torch.get_num_threads()]) for _ in range(20)]
        assert torch.get_num_threads() == chosen.number == 1
    assert [change.threads for change in changes if change] == [1]
    assert torch.get_num_threads() == 2


def test_a_measurement_is_timed_from_one_call_to_the_next(two_processors, monkeypatch):
    now = 0.0
    monkeypatch.setattr(threads.time, "perf_counter", lambda: now)
    with Threads() as chosen:
        for _ in range(20):
            now += 64 / BESIDE_ONE[torch.get_num_threads()]
            chosen.advance(64)
        assert chosen.number == 1


def fixed(number: int, **options) -> bool:
    with Threads(**options) as chosen:
        for seconds in (0.2, 0.2, 0.2, 0.2, 5.0, 5.0):
            assert chosen.done(64, seconds) is None
            assert torch.get_num_threads() == number
        return chosen.fixed and str(chosen) == f"{number} thread{'s' * (number > 1)}"


def test_a_number_that_is_asked_for_stays(two_processors):
    assert fixed(2, wanted=2)
    assert fixed(1, wanted=1)
    assert torch.get_num_threads() == 2


def test_a_number_that_the_user_has_set_stays(two_processors, monkeypatch):
    torch.set_num_threads(3)
    assert fixed(3)
    torch.set_num_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert fixed(2)


def test_where_nothing_may_be_chosen_and_on_an_accelerator_the_number_stays(two_processors):
    assert fixed(2, choose=False)
    assert fixed(2, device=torch.device("meta"))


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match=r"threads is -1: it must be at least 1, or 0 to choose by measured speed"):
        Threads(-1)
