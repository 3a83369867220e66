"""A run that is killed again and again: python -m tests.train.kills OUT KILLS SEED

Every attempt is a fork of this process, so that it begins at once; SIGKILL comes at a random moment, often within a save.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from genlip.recipes.recipe import Run
from genlip.train.loop import train_model

from .helpers import small_run

STEPS = 50  # five kills come well before the last


def run(out: Path | str) -> Run:
    return small_run(
        out, steps=STEPS, save_every=1, evaluate_every=STEPS // 2, spoken=1, log_samples="true", ema=0.9, threads=1,
        model__drop_path_rate=0.3, packing__batch="2 packs", packing__streams=4,
    )  # fmt: skip


def attempt(out: str) -> int:
    """Train in a fork; its process id."""
    if child := os.fork():
        return child
    try:
        train_model(run(out))
    finally:
        os._exit(0)


def main() -> None:
    out, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    rng = random.Random(seed)
    done = 0
    while done < kills:
        saved = len(list(Path(out, "checkpoints").glob("step-*"))) if Path(out).is_dir() else 0
        child = attempt(out)
        while not Path(out, "checkpoints").is_dir() and saved == 0:  # the first attempt trains a tokenizer before anything
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.8))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            done += 1
        else:
            sys.exit(f"the run ended after {done} kills: it needs more steps")
    left = len(list(Path(out, "checkpoints").glob("*.partial")))
    _, status = os.waitpid(attempt(out), 0)
    print(f"{done} kills, {left} saves cut short")
    sys.exit(status)


if __name__ == "__main__":
    main()
