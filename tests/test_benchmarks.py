"""Benchmarks that nothing else runs: a tiny run of each, so that they do not rot."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from .train.helpers import SMALL

FOLDER = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_busy_prints_speeds_of_now_and_before(capsys):
    sizes = [word for key in SMALL if key.startswith(("model", "packing")) for word in (f"--{key}", str(SMALL[key]))]
    benchmark("busy").main(
        ["--seconds", "0.5", "--settle", "0", "--repeats", "1", "--surroundings", "beside_one", "--", *sizes]
    )
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result.keys() == {"beside_one", "beside_one_before", "machine", "versions"}
    assert min(result["beside_one"], result["beside_one_before"]) > 0


def test_busy_ends_its_processes_whatever_happens():
    busy, others = benchmark("busy"), []

    def popen(*args, **options):
        others.append(subprocess.Popen(*args, **options))
        return others[-1]

    class Patched:
        Popen = staticmethod(popen)

    busy.subprocess = Patched

    def interrupted():
        with busy.busy((0, 19)):
            assert [other.poll() for other in others] == [None, None]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(other.poll() is not None for other in others)


KILLED = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import busy
with busy.busy((0,)):
    print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
    time.sleep(60)"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked to end children")
def test_busy_processes_end_with_a_benchmark_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", KILLED, str(FOLDER)], stdout=subprocess.PIPE, text=True) as benchmarking:
        (other,) = benchmarking.stdout.readline().split()
        benchmarking.kill()
    deadline = time.monotonic() + 20
    while runs(other) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(other)


def runs(process: str) -> bool:
    """Is it there, and not only waiting for its parent to notice its end?"""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_busy_counts_images_by_the_time_of_updates():
    updates = [(2.0, 999.0, 2.0), (5.0, 10.0, 3.0), (6.0, 40.0, 1.0)]
    names = ("seconds", "samples_per_s", "seconds_per_step")
    events = [dict(zip(names, update, strict=True)) for update in updates]
    assert benchmark("busy").rate(events, 2.0) == (30 + 40) / 4


def test_the_paper_in_miniature_judges_its_claims(tmp_path, capsys):
    sizes = [f"--{key}={SMALL[key]}" for key in SMALL if key.startswith(("model", "packing"))]
    paper = benchmark("paper")
    paper._SMALL = (*paper._SMALL, *sizes, "--data.held_out_samples", "8")
    paper.main(["--out", str(tmp_path), "--parts", "gate,scaling", "--quick", "--scale", "0.05"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["verdict"] in ("shown", "not shown", "contradicted") for row in rows["gate"]] == [True, True]
    assert "nats per byte" in rows["scaling"][0]["ours"]
    text = (tmp_path / "paper.md").read_text()
    assert "| not tested |" in text.replace("*", "")
    assert "the gate removes the sink (text to first patch), at equal samples | 17.1 % without, 0.1 % with" in text
    assert (tmp_path / "gate/study.html").is_file()
    paper.main(["--out", str(tmp_path), "--parts", "gate,scaling", "--quick", "--scale", "0.05", "--plan"])
    assert "in all" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        paper.main(["--out", str(tmp_path), "--parts", "gates"])
