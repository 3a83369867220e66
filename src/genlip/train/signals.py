"""Signals: Ctrl-C, and the SIGTERM of a scheduler that takes a machine back, ask a run to save and stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptible"]

_SAME = 1.0  # second


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """A list that fills when the user presses Ctrl-C or the system sends SIGTERM; one more, later, stops at once.

    What comes within a second of the first is the same request: schedulers and launchers may both pass it on.
    """
    heard: list[int] = []
    first = 0.0

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not heard:
            first = time.monotonic()
            heard.append(number)
            print("\nstopping after this update; again to stop at once", file=sys.stderr)
        elif time.monotonic() - first > _SAME:
            for kind, handler in before.items():
                signal.signal(kind, handler)
            signal.raise_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    for kind in before:
        signal.signal(kind, hear)
    try:
        yield heard
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
