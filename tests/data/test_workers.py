"""`genlip.data.workers`: items in turn, and an end, whatever happens to a worker or to the process that asked."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import pytest
import torch

from genlip.data.workers import WorkerDied, in_turn

ROOT = Path(__file__).parents[2]


def numbers(worker: int, workers: int):
    return (worker + workers * n for n in count())


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_items_come_in_turn(workers):
    with closing(in_turn(numbers, workers)) as items:
        assert list(islice(items, 30)) == list(range(30))


def test_what_is_large_arrives_whole_and_can_be_written_to():
    def make(worker, workers):
        for n in range(3):
            yield {"a": torch.full((1000, 999), n, dtype=torch.uint8), "none": torch.zeros(0, dtype=torch.int64)}

    with closing(in_turn(make, 2)) as items:
        for n, item in zip((0, 0, 1, 1, 2, 2), items, strict=False):
            assert torch.equal(item["a"], torch.full((1000, 999), n, dtype=torch.uint8))
            assert item["none"].dtype == torch.int64
            item["a"] += 1


def test_items_are_finished_by_the_process_that_asked():
    with closing(in_turn(numbers, 2, finish=lambda n: (n, os.getpid()))) as items:
        assert list(islice(items, 3)) == [(n, os.getpid()) for n in range(3)]


def test_an_error_arrives_as_it_was_after_the_items_before_it():
    def make(worker, workers):
        yield "first"
        raise OSError(28, "No space left on device", "here")

    with closing(in_turn(make, 1)) as items:
        assert next(items) == "first"
        with pytest.raises(OSError, match=r"No space left on device: 'here'") as error:
            next(items)
    assert (error.value.errno, error.value.filename) == (28, "here")


def test_a_mistake_brings_its_traceback_along_and_one_that_cannot_travel_its_words():
    class Local(Exception):
        pass

    def mistake(worker, workers):
        yield {}["gone"]

    def local(worker, workers):
        raise Local("cannot be pickled")
        yield

    with pytest.raises(KeyError) as error:
        next(in_turn(mistake, 1))
    assert 'yield {}["gone"]' in error.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"^Local: cannot be pickled$"):
        next(in_turn(local, 1))


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"^worker process \d+ was ended by SIGKILL; .* use fewer workers$"),
        (lambda: os._exit(3), r"^worker process \d+ ended with status 3$"),
    ],
)
def test_a_worker_that_ends_is_an_error_that_says_how(end, told):
    def make(worker, workers):
        yield worker
        if worker == 1:
            end()
        yield worker

    with closing(in_turn(make, 2)) as items:
        assert list(islice(items, 3)) == [0, 1, 0]
        with pytest.raises(WorkerDied, match=told):
            next(items)


def test_who_waits_is_asked_whether_to_go_on():
    def never(worker, workers):
        time.sleep(1000)
        yield

    def enough():
        raise TimeoutError("long enough")

    with pytest.raises(TimeoutError, match="long enough"):
        next(in_turn(never, 2, waiting=enough))


_PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from genlip.data.workers import in_turn

def make(worker, workers):
    Path(sys.argv[1], str(os.getpid())).touch()
    while True:
        yield worker

items = in_turn(make, 3)
for _ in range(3):
    next(items)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("os.kill(os.getpid(), 9)", -9),
        ("os.kill(os.getpid(), 15)", -15),
        ("raise ValueError('its frames hold the items')", 1),
        ("os.killpg(os.getpgid(0), 1); sys.exit(5)", -1),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux which processes live")
def test_workers_end_with_the_process_that_started_them(ending, status, tmp_path):
    command = [sys.executable, "-c", _PROGRAM + ending, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, start_new_session=True)
    assert done.returncode == status
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 3
    for _ in range(1200):
        if not any(map(alive, pids)):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlives the process that started it")


def test_signals_to_all_processes_of_a_terminal_do_not_end_workers():
    def make(worker, workers):
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), kind)
        yield from numbers(worker, workers)

    with closing(in_turn(make, 2)) as items:
        assert list(islice(items, 6)) == list(range(6))
