"""On what a figure was measured: the names that the system itself gives."""

import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from genlip.machine import machine, memory, versions


def test_the_machine_is_named_with_its_threads_and_system():
    assert machine(torch.device("cpu")).endswith(
        f", {torch.get_num_threads()} threads, {platform.system()} {platform.machine()}"
    )


def test_versions_are_those_installed():
    found = versions()
    assert (found["torch"], found["numpy"]) == (torch.__version__, np.__version__)
    assert found["genlip"] == version("genlip")


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system tells it in no other way")
def test_memory_is_the_peak_in_bytes():
    (told,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert memory(torch.device("cpu")) == pytest.approx(1024 * int(told), rel=0.02)
