"""Signals ask a run to save and stop: Ctrl-C, a scheduler's SIGTERM or SIGUSR1, the SIGHUP of a terminal that was closed.

Python acts on a signal between two of its own steps, and a collective that waits for another process is one step. So a
thread listens too: it tells the user that the signal was heard, and ends a process whose main thread does not come back.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from genlip.data.workers import SIGNALS

__all__ = ["interruptible"]

_SAME = 1.0  # second
_GRACE = 2.0  # seconds in which the main thread may end the process itself


@contextmanager
def interruptible() -> Iterator[list[float]]:
    """A list that fills, with the time, when a signal asks the run to stop; one more, later, stops at once.

    What comes within a second of the first is the same request: schedulers and launchers may both pass it on. A signal that
    is ignored already, as SIGHUP under nohup, stays so.
    """
    heard: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {kind: handler for kind in SIGNALS if (handler := signal.getsignal(kind)) is not signal.SIG_IGN}
    terminals = [number for number in (1, 2) if os.isatty(number)]
    once = threading.RLock()

    def first(number: int) -> bool:
        """Is this, or belongs it to, the first request?"""
        with once:
            if not heard:
                heard.append(time.monotonic())
                if number == getattr(signal, "SIGHUP", None):
                    _silence(terminals)
                with suppress(OSError, RuntimeError):  # a handler may interrupt another message
                    print("\nstopping after this update; again to stop at once", file=sys.stderr)
            return time.monotonic() - heard[0] <= _SAME

    def handle(number: int, frame: FrameType | None) -> None:
        if not first(number):
            for kind, handler in before.items():
                signal.signal(kind, handler)
            signal.raise_signal(number)

    def listen() -> None:
        while number := os.read(reader, 1)[0]:
            if number in before and not first(number):
                time.sleep(_GRACE)
                os._exit(128 + number)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    for kind in before:
        signal.signal(kind, handle)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield heard
    finally:
        signal.set_wakeup_fd(woken)
        for kind, handler in before.items():
            signal.signal(kind, handler)
        os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)


def _silence(terminals: list[int]) -> None:
    """A terminal that has gone refuses what is written to it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
