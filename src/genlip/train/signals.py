"""Signals: Ctrl-C, and the SIGTERM of a scheduler that takes a machine back, ask a run to save and stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """A list that fills when the user presses Ctrl-C or the system sends SIGTERM; a second one stops at once."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        print("\nstopping after this update; again to stop at once", file=sys.stderr)
        for kind, handler in before.items():
            signal.signal(kind, handler)

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
