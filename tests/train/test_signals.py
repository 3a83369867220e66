"""`genlip.train.signals`: every signal that asks to stop is heard, and the second ends the process whatever it is doing."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genlip.train.checkpoints import latest
from genlip.train.signals import interruptible

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_noted_once_and_handlers_are_put_back(kind, capsys):
    before = signal.getsignal(kind)
    with interruptible() as heard:
        assert not heard
        for _ in range(3):
            os.kill(os.getpid(), kind)
        assert len(heard) == 1
        assert time.monotonic() - heard[0] < 60
    assert signal.getsignal(kind) is before
    assert capsys.readouterr().err == "\nstopping after this update; again to stop at once\n"


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as heard:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.2)
            assert not heard
    finally:
        signal.signal(signal.SIGHUP, before)


STUCK = """
from genlip.train.signals import interruptible
import torch.distributed as dist
from datetime import timedelta

with interruptible():
    print("ready", flush=True)
    dist.TCPStore("127.0.0.1", 0, 2, True, timeout=timedelta(minutes=9), wait_for_workers=True)  # deaf: it is one call
"""


def test_a_second_signal_ends_a_process_that_waits_within_a_library():
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline() == "stopping after this update; again to stop at once\n"
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (128 + signal.SIGTERM, -signal.SIGTERM)


RUN = """
import sys
from tests.train.helpers import small_run
from genlip.train.loop import train_model

def say(state):
    if state.step == 3:
        open(sys.argv[2], "w").close()
train_model(small_run(sys.argv[1], steps=100000, save_every=100000), on_step=say)
"""


def test_a_terminal_that_is_closed_saves_the_run(tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", RUN, str(tmp_path / "out"), str(tmp_path / "begun")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    os.set_blocking(ours, False)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
        try:
            os.read(ours, 65536)
        except BlockingIOError:
            continue
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(120) == 1  # Interrupted, raised by a script
    assert latest(tmp_path / "out") is not None
