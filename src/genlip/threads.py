"""Threads: the number of PyTorch's threads on a processor, chosen by measured speed and adapted during the work.

In: the size and the seconds of every piece of work. Out: the number of threads for the next piece.

PyTorch splits each operator into one part per thread and waits for the last part. If another program uses one of the cores,
all threads wait for the thread on that core, and fewer threads are faster. The effect is measured, not predicted: each other
number of threads is used for a piece or two, and the fastest is kept. This happens at the start, after the speed has changed
by a fifth, and at intervals that keep its cost below two percent. The last bits of sums depend on the number of threads, so
a number that the user has set is never changed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass

import torch

__all__ = ["Change", "Chooser", "Threads"]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WARM_UP = 2.0  # seconds at the start that are not measured, since memory and kernels are still being prepared
_PIECES, _SECONDS, _LONG = 2, 0.4, 2.0  # a speed is measured over this many pieces and seconds, or over one long piece
_BETTER = 1.05  # another number of threads is used if it is faster by this factor
_CHANGED = 0.8  # the speed has changed if it is below this share of the earlier speed, or above the inverse
_PAUSES = 10.0, 60.0  # seconds between comparisons: at first, and after several without a change
_PATIENCE = 2.0, 1 / 8  # after a change of speed: least seconds since the last comparison, and least share of the pause
_COST = 0.015  # share of the time that may be spent on slower numbers of threads


@dataclass(frozen=True)
class Change:
    """A change of the number of threads.

    Attributes:
        threads, before: the new number, and the old one.
        rates: measured speed in units of work per second, by number of threads.
    """

    threads: int
    before: int
    rates: dict[int, float]


class Chooser:
    """Chooses the number of threads. It uses no clock: time is the sum of the seconds passed to `done`.

    Attributes:
        threads: number for the next piece of work.
        chosen: the best number; differs from `threads` only while another number is tried.
    """

    def __init__(self, most: int) -> None:
        self.numbers = sorted({1, max(1, most // 2), max(1, most - 1), most}, reverse=True)
        self.chosen = self.threads = most
        self._warm_up = _WARM_UP
        self._pieces: deque[tuple[float, float]] = deque()  # units and seconds, of `threads`
        self._usual = 0.0  # rate of `chosen` when numbers were last compared
        self._since = self._pause = self._cost = 0.0  # seconds since the last comparison, until the next, and lost by it
        self._rates: dict[int, float] = {}  # measured in the current comparison

    def done(self, units: float, seconds: float) -> Change | None:
        """Add a measured piece of work; returns a change if another number is chosen."""
        if len(self.numbers) == 1 or not (units > 0 and seconds > 0):
            return None
        if self._warm_up > 0:
            self._warm_up -= seconds
            return None
        self._pieces.append((units, seconds))
        if self._rates:
            return self._tried()
        while len(self._pieces) > _PIECES and self._spent() - self._pieces[0][1] >= _SECONDS:
            self._pieces.popleft()
        self._since += seconds
        if self._measured() and self._due():
            self._rates, self._cost = {self.chosen: self._rate()}, 0.0
            self._try_next()
        return None

    def _due(self) -> bool:
        """Is a comparison due?"""
        if self._since >= self._pause:
            return True
        slower, faster = self._rate() < _CHANGED * self._usual, self._rate() * _CHANGED > self._usual
        least, share = _PATIENCE
        if not (slower or faster) or self._since < max(least, share * self._pause):
            return False
        if self.chosen != (min if slower else max)(self.numbers):
            return True
        self._usual = self._rate()  # already the least or the greatest number
        return False

    def _tried(self) -> Change | None:
        """Continue a comparison."""
        usual, rate = self._rates[self.chosen], self._rate()
        if not (self._measured() or rate < _CHANGED * usual):
            return None
        self._rates[self.threads] = rate
        self._cost += self._spent() * max(0.0, 1 - rate / usual)
        return None if self._try_next() else self._settled()

    def _try_next(self) -> bool:
        """Try the next number of a comparison, if there is one."""
        self._pieces.clear()
        left = [number for number in self.numbers if number not in self._rates]
        self.threads = left[0] if left else self.chosen
        return bool(left)

    def _settled(self) -> Change | None:
        """End a comparison."""
        rates, before = self._rates, self.chosen
        best = max(rates, key=lambda number: rates[number])
        change = Change(best, before, rates) if rates[best] > _BETTER * rates[before] else None
        self.chosen = self.threads = change.threads if change else before
        first, last = _PAUSES
        self._pause = max(first if change else min(max(first, 2 * self._pause), last), self._cost / _COST)
        self._since, self._usual, self._rates = 0.0, rates[self.chosen], {}
        return change

    def _spent(self) -> float:
        """Seconds of the recent pieces."""
        return sum(seconds for _, seconds in self._pieces)

    def _rate(self) -> float:
        """Units per second of the recent pieces."""
        return sum(units for units, _ in self._pieces) / self._spent()

    def _measured(self) -> bool:
        """Are there enough recent pieces for a measurement?"""
        return self._spent() >= (_SECONDS if len(self._pieces) >= _PIECES else _LONG)


class Threads:
    """PyTorch's number of threads on a processor, fixed or chosen by measured speed. Use as a context manager.

    wanted   0 chooses by speed, unless OMP_NUM_THREADS or torch.set_num_threads has set a number before
    device   device of the work; on an accelerator nothing is chosen
    choose   False keeps PyTorch's own number: for several processes on a machine, as under torchrun, and for compiled
             kernels, which are compiled for one number

    Raises ValueError for a negative number. On exit, the previous number of threads is restored.
    """

    def __init__(self, wanted: int = 0, device: torch.device | None = None, choose: bool = True) -> None:
        if wanted < 0:
            raise ValueError(f"threads is {wanted}: it must be at least 1, or 0 to choose by measured speed")
        self._before = torch.get_num_threads()
        self.most = wanted or self._before
        self.on_processor = device is None or device.type == "cpu"
        chosen = self.on_processor and choose and not wanted and not _set_by_the_user(self._before)
        self._chooser = Chooser(self.most) if chosen else None
        self._last = time.perf_counter()

    def __enter__(self) -> Threads:
        self._use(self.most)
        self._last = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._use(self._before)

    def __str__(self) -> str:
        return f"{'' if self.fixed else 'up to '}{self.most} thread{'s' * (self.most > 1)}"

    @property
    def fixed(self) -> bool:
        """Does the number never change?"""
        return self._chooser is None or len(self._chooser.numbers) == 1

    @property
    def number(self) -> int:
        """The chosen number of threads; while another number is tried, the last chosen one."""
        return self._chooser.chosen if self._chooser else self.most

    def done(self, units: float, seconds: float) -> Change | None:
        """Add a measured piece of work of `units`, and continue with the best number of threads."""
        if self._chooser is None:
            return None
        change = self._chooser.done(units, seconds)
        self._use(self._chooser.threads)
        return change

    def advance(self, units: int) -> None:
        """Call `done` for the work since the last call."""
        now = time.perf_counter()
        self.done(units, now - self._last)
        self._last = time.perf_counter()

    def _use(self, number: int) -> None:
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)


def _set_by_the_user(number: int) -> bool:
    """Was this number set by the user? PyTorch's own is the number of processors, or half of it with hyper-threading."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return any(os.environ.get(name) for name in _VARIABLES) or number not in (processors, processors // 2)
