"""Signals that ask a run to save and stop: Ctrl-C, SIGTERM or SIGUSR1 of a scheduler, SIGHUP of a terminal that was closed.

Python runs signal handlers between two bytecode instructions of the main thread, and a collective that waits for another
process is one instruction. So a thread receives signals too: it tells the user that one was received, and a second
signal ends the process even if the main thread is blocked.
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
    """A list to which the time of the first signal is added; a second signal, at least a second later, stops at once.

    Signals within a second of the first are the same request, because schedulers and launchers may both send it. A signal
    that is ignored already, such as SIGHUP under nohup, stays ignored.
    """
    received: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {signum: handler for signum in SIGNALS if (handler := signal.getsignal(signum)) is not signal.SIG_IGN}
    terminals = [number for number in (1, 2) if os.isatty(number)]
    once = threading.RLock()

    def first(number: int) -> bool:
        """Whether the signal belongs to the first request."""
        with once:
            if not received:
                received.append(time.monotonic())
                if number == getattr(signal, "SIGHUP", None):
                    _silence(terminals)
                with suppress(OSError, RuntimeError):  # a handler may interrupt another message
                    print("\nstopping after this update; again to stop at once", file=sys.stderr)
            return time.monotonic() - received[0] <= _SAME

    def handle(number: int, frame: FrameType | None) -> None:
        if not first(number):
            for signum, handler in before.items():
                signal.signal(signum, handler)
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
    for signum in before:
        signal.signal(signum, handle)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield received
    finally:
        signal.set_wakeup_fd(woken)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)


def _silence(terminals: list[int]) -> None:
    """Redirect output that would fail because its terminal was closed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
