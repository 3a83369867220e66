"""Workers: processes that make items ahead of time, which are taken from them in turn.

In: a function that gives worker w of W its items. Out: item after item, one of each worker in turn: 0, 1, …, W - 1, 0, …

Items travel through a socket for each worker, and not, as PyTorch's `DataLoader` sends them, through shared memory and a
queue that a thread fills: a container may have 64 MiB of /dev/shm, and an item that such a thread cannot send is lost, while
its receiver waits for ever. Here a send that fails ends the worker, and a worker that has ended closes its socket: the
receiver knows at once. Workers end with the process that started them, whatever ends it.
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

SIGNALS = tuple(  # that ask a run to stop; Windows has fewer
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
_PULSE = 1.0  # seconds between looks at whether it is still worth waiting


class WorkerDied(OSError):
    """A worker process ended before its work was done."""


def in_turn(
    make: Callable[[int, int], Iterable[T]],
    workers: int,
    finish: Callable[[T], T] = lambda item: item,
    waiting: Callable[[], None] = lambda: None,
) -> Generator[T, None, None]:
    """Items of `workers` processes in turn, without end: who knows how many there are stops asking. Close it when done.

    make     runs in each worker: make(w, workers) gives its items
    finish   is applied to each item by a thread of this process, ahead of time
    waiting  is called every second while an item is waited for; an error that it raises ends the waiting

    What a worker raises is raised here, a mistake in the program with its traceback as a note. Raises `WorkerDied` if a
    worker ends unasked.
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
        with suppress(queue.Empty):  # the thread may wait for room
            while True:
                ahead.get_nowait()


class _Team:
    """The processes, and this end of their sockets."""

    def __init__(self, make: Callable[[int, int], Iterable[Any]], workers: int) -> None:
        context = multiprocessing.get_context()
        self.sockets: list[socket.socket] = []
        self.processes: list[BaseProcess] = []
        # Before multiprocessing's own exit handler, which sends SIGTERM, to which workers do not listen, and waits.
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
        """End all workers at once: nothing that they hold is lost."""
        atexit.unregister(self.stop)
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for ours in self.sockets:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            ours.close()

    def obituary(self, number: int) -> WorkerDied:
        """Why a worker ended, as far as the system tells."""
        process = self.processes[number]
        process.join(_PULSE)
        code = process.exitcode
        ended = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        memory = "; the system ends processes so when memory is short: use fewer workers" if code == -signal.SIGKILL else ""
        return WorkerDied(f"worker process {process.pid} {ended}{memory}")


@dataclass(frozen=True)
class _Failure:
    """What a worker raised, in place of an item."""

    error: BaseException


def _receive(team: _Team, ahead: queue.Queue[Any], finish: Callable[[Any], Any]) -> None:
    """Take items in turn until one is a failure."""
    while True:
        for number, ours in enumerate(team.sockets):
            try:
                item = _read(ours)
            except (EOFError, OSError):
                item = _Failure(team.obituary(number))
            try:
                item = item if isinstance(item, _Failure) else finish(item)
            except Exception as error:  # raised where the item is asked for
                item = _Failure(error)
            ahead.put(item)
            if isinstance(item, _Failure):
                return


def _work(
    make: Callable[[int, int], Iterable[Any]], number: int, workers: int, out: socket.socket, forked: Sequence[socket.socket]
) -> None:
    """Make items and send them, in a worker."""
    signal.set_wakeup_fd(-1)
    for kind in SIGNALS:  # for all processes of a terminal or a job: the run itself finishes its update and saves
        signal.signal(kind, signal.SIG_IGN)
    for theirs in forked:
        theirs.close()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        for item in make(number, workers):
            _write(out, item)
    except Exception as error:  # all of it is raised by the process that asked
        with suppress(OSError):  # nobody listens any more
            _write(out, _Failure(_portable(error)))


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The same error, or one that says the same, as another process can rebuild it."""
    if not isinstance(error, (ValueError, OSError)):  # a mistake in the program: where?
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Pickler(pickle.Pickler):
    """Hands tensors over as arrays, whose memory is sent as it is."""

    def reducer_override(self, thing: Any) -> Any:
        """How a tensor is rebuilt; all else as usual."""
        return (torch.from_numpy, (thing.numpy(),)) if isinstance(thing, Tensor) else NotImplemented


def _write(out: socket.socket, item: Any) -> None:
    """Send how long the pickled item and each of its large buffers are, and then these."""
    body, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(body, protocol=5, buffer_callback=buffers.append).dump(item)
    parts = [body.getbuffer(), *(buffer.raw() for buffer in buffers)]
    out.sendall(struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        out.sendall(part)


def _read(ours: socket.socket) -> Any:
    """The next item. Raises EOFError if there is none."""
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
