"""How fast is training beside other programs?

Trains the quickstart for some seconds, in a process of its own, in three surroundings: on a quiet machine, beside one busy
process, and beside one busy and four niced ones (nice 19). Each time two ways: as the command line does it ("now"), and
on a fixed number of threads, one for each core ("before"). The two alternate, and medians count. The first
seconds do not count: memory is fetched, kernels are prepared, and "now" compares numbers of threads.

    python benchmarks/busy.py [--seconds 25] [--settle 5] [--repeats 3] [--surroundings quiet beside_one beside_four]

What follows `--` replaces settings of the recipe: `-- --model.hidden_size 32`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from genlip.train.run_log import read_log

SURROUNDINGS = {"quiet": (), "beside_one": (0,), "beside_four": (0, 19, 19, 19, 19)}  # niceness of each busy process
NEVER = 10**9
SETTINGS = {
    "steps": NEVER, "evaluate_every": NEVER, "save_every": NEVER, "log_every": 1, "spoken": 0, "data.held_out_samples": 2,
}  # fmt: skip
BEFORE = """\
import sys
from genlip.train.loop import train_model
from genlip.train.malloc import keep_freed_memory
from genlip.recipes.recipe import load_recipe
keep_freed_memory()
train_model(load_recipe("quickstart", sys.argv[1:]))"""
OPENMP = ("OMP_", "GOMP_", "KMP_", "MKL_")  # beginnings of variables that would decide in our place


def start(words: list[str], **options: object) -> subprocess.Popen[bytes]:
    """A process that ends with this one, on Linux even if this one is killed."""
    return subprocess.Popen(words, preexec_fn=end_with_the_parent if sys.platform == "linux" else None, **options)


def end_with_the_parent() -> None:
    """Ask the system for SIGKILL when the parent is gone: prctl(PR_SET_PDEATHSIG, SIGKILL)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextmanager
def busy(niceness: tuple[int, ...]) -> Iterator[None]:
    """Processes that compute without end while the context lasts."""
    with ExitStack() as stack:
        for nice in niceness:
            other = start([sys.executable, "-c", f"import os; os.nice({nice})\nwhile True: pass"])
            stack.callback(other.wait)
            stack.callback(other.kill)
        yield


def command(kind: str, out: str, settings: list[str]) -> list[str]:
    """That trains as the command line does it now, or as before."""
    given = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    if kind == "now":
        return [sys.executable, "-m", "genlip", "train", "quickstart", "--out", out, *given, *settings]
    return [sys.executable, "-c", BEFORE, "--out", out, *given, "--threads", str(processors()), *settings]


def processors() -> int:
    """As many threads as PyTorch takes by itself."""
    return int(subprocess.check_output([sys.executable, "-c", "import torch; print(torch.get_num_threads())"], env=free()))


def free() -> dict[str, str]:
    """The environment without what decides on threads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OPENMP)}


def images_per_second(
    kind: str, niceness: tuple[int, ...], seconds: float, settle: float, settings: list[str]
) -> tuple[float, list[int]]:
    """Of one training after its first seconds, and the numbers of threads that it changed to."""
    with tempfile.TemporaryDirectory() as out, busy(niceness), Path(out, "told").open("w+") as told:
        training = start(command(kind, out, settings), env=free(), stderr=told, stdout=told)
        try:
            wait_for_an_update(training, Path(out), told.name)
            time.sleep(settle + seconds)
            training.send_signal(signal.SIGINT)
            training.wait()
        finally:
            training.kill()
            training.wait()
        return rate(read_log(out, "train"), settle), [event["threads"] for event in read_log(out, "threads")]


def wait_for_an_update(training: subprocess.Popen[bytes], out: Path, told: str) -> None:
    """Return once training is under way. Raises RuntimeError if it ends before."""
    while not ((out / "log.jsonl").is_file() and '"train"' in (out / "log.jsonl").read_text(encoding="utf8")):
        if training.poll() is not None:
            raise RuntimeError(f"training ended at once: {Path(told).read_text(encoding='utf8')}")
        time.sleep(0.1)


def rate(events: list[dict[str, float]], settle: float) -> float:
    """Images a second of the updates that end after the first seconds."""
    counted = [event for event in events if event["seconds"] > settle]  # each is one update
    images = sum(event["samples_per_s"] * event["seconds_per_step"] for event in counted)
    return images / sum(event["seconds_per_step"] for event in counted)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would the training
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=25, help="of each training that count (default 25)")
    parser.add_argument("--settle", type=float, default=5, help="first seconds, which do not count (default 5)")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each kind; the median counts (default 3)")
    parser.add_argument("--surroundings", nargs="+", choices=SURROUNDINGS, default=list(SURROUNDINGS), help="default: all")
    parser.add_argument("settings", nargs="*", help="settings of the recipe, after --")
    args = parser.parse_args(arguments)
    result: dict[str, object] = {}
    for name in args.surroundings:
        found: dict[str, list[float]] = {"now": [], "before": []}
        chose: list[list[int]] = []
        for _ in range(args.repeats):
            for kind, rates in found.items():
                images, changes = images_per_second(kind, SURROUNDINGS[name], args.seconds, args.settle, args.settings)
                rates.append(round(images, 1))
                chose += [changes] if kind == "now" else []
        now, before = (statistics.median(rates) for rates in found.values())
        print(
            f"{name:12} now {now:6.1f} {found['now']}, before {before:6.1f} {found['before']}, changes {chose}", flush=True
        )
        result |= {name: now, f"{name}_before": before}
    print(json.dumps(result | about()))


def about() -> dict[str, object]:
    """Machine and versions."""
    import torch

    from genlip.machine import machine, versions

    return {"machine": machine(torch.device("cpu")), "versions": versions()}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contexts are left
    main()
