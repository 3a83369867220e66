"""A run in several processes, as `torchrun` starts them: torchrun … -m tests.train.distributed OUT KILL_AT --key value …

In float64, so that one process and many can be compared to the last digits. `torchrun` and its ranks are forks of a process
that has imported the libraries, one for all tests: most of the time would go into imports.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import torch

from genlip.train.loop import train_model
from genlip.train.state import State
from tests.forks import Done, forks
from tests.train.helpers import small_run  # torchrun runs this file by its path, too

ROOT = Path(__file__).parents[2]
STEPS = 20
SETTINGS = {
    "steps": STEPS, "packing.batch": "7 packs", "packing.max_tokens": 120, "packing.streams": 7, "log_samples": "true",
    "model.drop_path_rate": 0.2, "ema": 0.9, "save_every": 10, "evaluate_every": 10, "spoken": 1,
}  # fmt: skip


def train_here(out: Path, kill_at: int = 0, **changes: object) -> None:
    """The same run in this process; rank 0 is killed after update `kill_at`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        run = small_run(out, **{key.replace(".", "__"): value for key, value in (SETTINGS | changes).items()})
        train_model(run, on_step=lambda state: _kill(state, kill_at))
    finally:
        torch.set_default_dtype(before)


def _kill(state: State, at: int) -> None:
    if state.step == at and state.world.leads:
        os.kill(os.getpid(), signal.SIGKILL)


def launch(
    out: Path, ranks: int, nodes: int = 1, check: bool = True, kill_at: int = 0, fork: bool = True, **changes: object
) -> str:
    """Run with `ranks` processes on each of so many nodes, forks or programs of their own; returns what they said."""
    words = [str(word) for key, value in (SETTINGS | changes).items() for word in (f"--{key}", value)]
    return program(Path(__file__), [str(out), str(kill_at), *words], ranks, nodes, check, fork)


def program(file: Path, arguments: list[str], ranks: int, nodes: int = 1, check: bool = True, fork: bool = True) -> str:
    """Run a file of these tests with `torchrun`; returns what the processes said."""
    start = ["--start-method", "fork", "--run-path", str(file)] if fork else ["-m", f"tests.train.{file.stem}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = [
        [
            "--nproc-per-node", str(ranks), "--nnodes", str(nodes), "--node-rank", str(node),
            "--master-addr", "127.0.0.1", "--master-port", str(port), *start, *arguments,
        ]
        for node in range(nodes)
    ]  # fmt: skip
    with ThreadPoolExecutor(nodes) as pool:
        done = list(pool.map(_torchrun_forked if fork else _torchrun, range(nodes), commands))
    told = "\n".join(node.stdout + node.stderr for node in done)
    if check:
        assert [node.returncode for node in done] == [0] * nodes, told
    return told


def _torchrun(node: int, arguments: list[str]) -> Done:
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


def _torchrun_forked(node: int, arguments: list[str]) -> Done:
    return _forks_of(node)(f"from torch.distributed.run import main; main({arguments!r})")


@functools.cache
def _forks_of(node: int) -> Callable[[str], Done]:
    """Torchrun with the libraries imported already, torch._dynamo among them: the first update of a rank imports it."""
    return _STARTED.enter_context(
        forks("torch._dynamo, torch.distributed.run, tests.train.distributed, tests.train.toy", ROOT)
    )


_STARTED = ExitStack()
atexit.register(_STARTED.close)


def main(out: str, kill_at: str, *words: str) -> None:
    changes = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
    train_here(Path(out), int(kill_at), **changes)


if __name__ == "__main__":
    main(*sys.argv[1:])
