"""A run survives: SIGKILL at any moment, other numbers of ranks, a full disk."""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genlip.train.checkpoints import latest
from genlip.train.loop import train_model
from genlip.train.sample_log import read_samples

from .distributed import STEPS, launch, train_here
from .helpers import small_run
from .kills import STEPS as KILLS_STEPS
from .kills import run

ROOT = Path(__file__).parents[2]


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_kills_at_random_moments_change_nothing(tmp_path):
    """The final weights are those of a run that was never stopped, bit for bit; no sample is lost or repeated."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.kills", str(killed), "5", "0"]
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("5 kills")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train_model(run(whole))
    torch.set_num_threads(threads)
    assert equal(weights(killed), weights(whole))
    assert read_samples(killed) == read_samples(whole)
    assert len(read_samples(whole)) == 2 * KILLS_STEPS
    assert not list((killed / "checkpoints").glob("*.partial"))


def test_two_then_one_then_three_ranks_learn_from_the_same_samples(tmp_path):
    """Rank 0 is killed in update 7 and, on another number of ranks, in update 15."""
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    often = {"save_every": 3, "ema": 0}
    launch(stopped, 2, check=False, kill_at=7, **often)
    launch(stopped, 1, check=False, kill_at=15, **often)
    assert latest(stopped).name < f"step-{STEPS:08}"
    launch(stopped, 3, parallel="fsdp", **often)
    train_here(whole, **often)
    assert read_samples(stopped) == read_samples(whole)
    there, here = weights(whole), weights(stopped)
    assert max(float((here[name] - there[name]).abs().max()) for name in there) < 1e-9


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint_whole(tmp_path):
    """A limit on the size of files stands in for the disk."""
    script = (
        "import sys, resource; from tests.train.helpers import small_run\nfrom genlip.train.loop import train_model\n"
        "from genlip.train.checkpoints import latest\n"
        "def limit(state):\n"
        "    while state.step == 3 and latest(sys.argv[1]) is None: pass\n"
        "    if state.step == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))\n"
        "train_model(small_run(sys.argv[1], save_every=2, steps=12, spoken=0), on_step=limit)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"step-00000004 could not be written: .*File too large.*; ", done.stderr)
    assert "step-00000002 is the last whole one: make room, and start the same command again" in done.stderr
    assert latest(tmp_path).name == "step-00000002"
    resumed = train_model(small_run(tmp_path, save_every=2, steps=12, spoken=0))
    assert (resumed / "model.safetensors").is_file()


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(OSError, match=r"step-00000003 could not be written: .*no checkpoint is the last whole one"):
        train_model(small_run(tmp_path))


def test_a_damaged_checkpoint_is_named(tmp_path):
    train_model(small_run(tmp_path, steps=4))
    (shard,) = (latest(tmp_path) / "training").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(
        ValueError,
        match=r"step-00000004 is damaged \(training/.* is not as it was written\): remove it to go on from .*00000003",
    ):
        train_model(small_run(tmp_path, steps=4))


def test_a_second_signal_stops_at_once(tmp_path):
    """Without waiting for the update, or for a save."""
    script = (
        "import sys, time, os, signal; from tests.train.helpers import small_run\n"
        "from genlip.train.loop import train_model\n"
        "def hang(state):\n"
        "    for pause in (0, 0, 1.5):\n"  # two at once are one
        "        time.sleep(pause)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "train_model(small_run(sys.argv[1]), on_step=hang)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, timeout=50)
    assert done.returncode == -signal.SIGTERM
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
