"""`genlip.data.folder_lock`: one process at a time, whatever becomes of it."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from genlip.data.folder_lock import own

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from genlip.data.folder_lock import own
from genlip.data.workers import in_turn

def make(worker, workers):
    while True:
        yield worker

with own(Path(sys.argv[1]), "run"):
    items = in_turn(make, 2)
    next(items)
    print("mine", flush=True)
    time.sleep(1000)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    """With the holder's name; killed, it leaves nothing that must be cleared away."""
    folder = tmp_path / "a" / "b"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    holder = f"process {process.pid} on {socket.gethostname()}"
    with pytest.raises(ValueError) as error, own(folder, "run"):  # noqa: PT011
        pass
    assert str(error.value) == f"{folder}: another run is writing there ({holder}); wait for it, or choose another folder"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with own(folder, "run"):
        assert (folder / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
        (folder / "work").touch()
    assert [path.name for path in folder.iterdir()] == ["work"]


def test_a_folder_that_nothing_was_put_into_is_not_left(tmp_path):
    with pytest.raises(RuntimeError), own(tmp_path / "a/b", "run"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with own(tmp_path / "mine", "run"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_where_nothing_can_be_locked_the_work_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def acquire(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with own(tmp_path, "packing"):
        pass
    assert f"{tmp_path} cannot be locked ([Errno {errno.ENOLCK}] No locks available)" in caplog.text
