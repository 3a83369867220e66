"""Workers: processes that prepare items in advance; items are taken from them in turn.

In: a function that returns the items of worker w of W. Out: item after item, one of each worker in turn: 0, 1, …, W - 1, 0,
    …

Each worker sends its items through a socket. PyTorch's `DataLoader` uses shared memory and a queue that a thread fills. But
a container may have only 64 MiB of /dev/shm, and an item that such a thread cannot send is lost, while the receiver waits
forever. Here, a failed send ends the worker, and the end of a worker closes its socket, which the receiver sees at once.
Workers end with the process that started them, however it ends.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import pickle
import queue
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["SIGNALS", "WorkerDied", "in_turn"]

T = TypeVar("T")

SIGNALS = tuple(  # signals that stop a run; Windows has fewer
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
_PULSE = 1.0  # seconds between calls of `waiting`


class WorkerDied(OSError):
    """A worker process ended before its work was done."""


def in_turn(
    make: Callable[[int, int], Iterable[T]],
    workers: int,
    finish: Callable[[T], T] = lambda item: item,
    waiting: Callable[[], None] = lambda: None,
) -> Generator[T, None, None]:
    """Items of `workers` processes in turn. It does not end by itself: take the known number, then close it.

    make     runs in each worker: make(w, workers) returns its items
    finish   is applied to each item by a thread of this process, ahead of time
    waiting  is called every second while an item is waited for; an error that it raises ends the waiting

    An error of a worker is raised here, with its traceback as a note if it is a programming error. Raises `WorkerDied` if a
    worker process ends unexpectedly.
    """
    team = _Team(make, workers)
    ahead: queue.Queue[T | _Failure] = queue.Queue(workers + 1)
    threading.Thread(target=_receive, args=(team, ahead, finish), daemon=True).start()
    try:
        while True:
            try:
                item = ahead.get(timeout=_PULSE)
            except queue.Empty:
                waiting()
                continue
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        team.stop()
        with suppress(queue.Empty):  # the thread may wait for space in the queue
            while True:
                ahead.get_nowait()


class _Team:
    """The worker processes, and this process's ends of their sockets."""

    def __init__(self, make: Callable[[int, int], Iterable[Any]], workers: int) -> None:
        context = multiprocessing.get_context()
        self.sockets: list[socket.socket] = []
        self.processes: list[BaseProcess] = []
        # Runs before multiprocessing's exit handler, which sends SIGTERM, which workers ignore, and waits for them.
        atexit.register(self.stop)
        try:
            for number in range(workers):
                ours, theirs = socket.socketpair()
                self.sockets.append(ours)
                forked = self.sockets if context.get_start_method() == "fork" else []
                process = context.Process(target=_work, args=(make, number, workers, theirs, forked), daemon=True)
                process.start()
                self.processes.append(process)
                theirs.close()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all workers; their prepared items can be prepared again."""
        atexit.unregister(self.stop)
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for ours in self.sockets:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            ours.close()

    def died(self, number: int) -> WorkerDied:
        """The error of an ended worker, with its exit status or signal."""
        process = self.processes[number]
        process.join(_PULSE)
        code = process.exitcode
        ended = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        memory = "; the system ends processes so when memory is short: use fewer workers" if code == -signal.SIGKILL else ""
        return WorkerDied(f"worker process {process.pid} {ended}{memory}")


@dataclass(frozen=True)
class _Failure:
    """An error of a worker, sent in place of an item."""

    error: BaseException


def _receive(team: _Team, ahead: queue.Queue[Any], finish: Callable[[Any], Any]) -> None:
    """Take items in turn until one is a failure."""
    while True:
        for number, ours in enumerate(team.sockets):
            try:
                item = _read(ours)
            except (EOFError, OSError):
                item = _Failure(team.died(number))
            try:
                item = item if isinstance(item, _Failure) else finish(item)
            except Exception as error:  # raised where the item is taken
                item = _Failure(error)
            ahead.put(item)
            if isinstance(item, _Failure):
                return


def _work(
    make: Callable[[int, int], Iterable[Any]], number: int, workers: int, out: socket.socket, forked: Sequence[socket.socket]
) -> None:
    """Make items and send them, in a worker."""
    signal.set_wakeup_fd(-1)
    for kind in SIGNALS:  # sent to all processes of a terminal or a job: only the main process handles them
        signal.signal(kind, signal.SIG_IGN)
    for theirs in forked:
        theirs.close()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        for item in make(number, workers):
            _write(out, item)
    except Exception as error:  # raised again in the main process
        with suppress(OSError):  # the receiver has gone
            _write(out, _Failure(_portable(error)))


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error, or one with the same message, in a form that another process can unpickle."""
    if not isinstance(error, (ValueError, OSError)):  # a programming error: add its traceback
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Pickler(pickle.Pickler):
    """Pickles tensors as NumPy arrays, whose memory is sent without a copy."""

    def reducer_override(self, thing: Any) -> Any:
        """Tensors from arrays; everything else as usual."""
        return (torch.from_numpy, (thing.numpy(),)) if isinstance(thing, Tensor) else NotImplemented


def _write(out: socket.socket, item: Any) -> None:
    """Send the sizes of the pickled item and of its large buffers, then their bytes."""
    body, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(body, protocol=5, buffer_callback=buffers.append).dump(item)
    parts = [body.getbuffer(), *(buffer.raw() for buffer in buffers)]
    out.sendall(struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        out.sendall(part)


def _read(ours: socket.socket) -> Any:
    """The next item. Raises EOFError if the socket is closed."""
    (number,) = struct.unpack("<Q", _exactly(ours, 8))
    sizes = struct.unpack(f"<{number}Q", _exactly(ours, 8 * number))
    body, *buffers = [_exactly(ours, size) for size in sizes]
    return pickle.loads(body, buffers=buffers)


def _exactly(ours: socket.socket, size: int) -> memoryview:
    whole = np.empty(size, np.uint8).data
    left = whole
    while len(left):
        got = ours.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return whole
