"""Everything that only a GPU can tell, within minutes: is attention right, how fast is training, does it learn.

    python benchmarks/gpu.py [--minutes 9] [--out gpu.json] [--steps attention,stage1,...] [--tiny]

Steps, most valuable first: `stage1` and `stage2` (MFU and peak memory of the paper's L/16 at full width and vocabulary,
beside a padded baseline with a dense mask), `kernels` (where the time of an update goes, and what waits for the device),
`quickstart` (exact captions), `attention` (varlen, flex, sdpa and compiled blocks against the reference, values and
gradients), `data` (JPEG files to packs, beside training), `rates` (attention alone), `sink` (attention on the first patch,
with the gate and without). Each runs in a process of its own. Every figure is printed and written to the file as soon as it
is there, so a run that is cut off still tells what it found.

Without a GPU, or with --tiny, it runs the same steps at tiny size on the CPU: figures of such a run mean nothing.
CONTRIBUTING.md says how to run it on a machine without a network. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from genlip.machine import machine, versions

HERE = Path(__file__).resolve()
ENOUGH = 15.0  # seconds under which no step is begun


def child(step: str, tiny: bool, folder: Path) -> None:
    """Run one step in this process; each figure is one line of JSON."""
    from gpu_steps import FULL, STEPS, TINY

    work, _ = STEPS[step]
    for name, figures in work(TINY if tiny else FULL, chosen_device(tiny), folder):
        print(json.dumps({name: figures}), flush=True)


def chosen_device(tiny: bool) -> torch.device:
    """The GPU, if there is one and it is wanted."""
    return torch.device("cuda" if torch.cuda.is_available() and not tiny else "cpu")


def figures_of(step: str, tiny: bool, folder: Path, seconds: float) -> Iterator[tuple[str, Any]]:
    """What a step prints, line by line; it is stopped after so many seconds, and what went wrong is a figure too."""
    command = [sys.executable, str(HERE), "--child", step, "--folder", str(folder), *(["--tiny"] if tiny else [])]
    with (folder / f"{step}.err").open("w+", encoding="utf8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder)
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    yield from json.loads(line).items()
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
        if status:
            errors.seek(0)
            why = f"stopped after {seconds:.0f} s" if status < 0 else f"ended with status {status}"
            yield "failed", {"why": why, "last_lines": errors.read().splitlines()[-12:]}


def run(steps: list[str], tiny: bool, minutes: float, out: Path) -> dict[str, Any]:
    """All steps, as far as time goes."""
    from gpu_steps import STEPS

    if unknown := [step for step in steps if step not in STEPS]:
        raise SystemExit(f"unknown step {', '.join(unknown)}: the steps are {', '.join(STEPS)}")
    ends = time.monotonic() + 60 * minutes
    device = chosen_device(tiny)
    found: dict[str, Any] = {"machine": machine(device), "versions": versions(), "cores": os.cpu_count(), "tiny": tiny}
    with tempfile.TemporaryDirectory() as folder:
        for step in steps:
            left = ends - time.monotonic()
            if left < ENOUGH:
                found[step] = {"not_run": "no time was left"}
                continue
            began, found[step] = time.monotonic(), {}
            for name, figures in figures_of(step, tiny, Path(folder), min(left, STEPS[step][1])):
                found[step][name] = _rounded(figures)
                print(f"{step}: {name}: {json.dumps(found[step][name])}", flush=True)
                _write(found, out)
            found[step]["step_seconds"] = round(time.monotonic() - began, 1)
            _write(found, out)
    return found


def _rounded(value: Any) -> Any:
    """Floats to four significant digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _write(found: dict[str, Any], out: Path) -> None:
    partial = out.with_name(out.name + ".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    partial.replace(out)


def main() -> None:
    """Run the steps, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no more is begun (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where the figures go (default: gpu.json)")
    parser.add_argument("--steps", help="which, with commas between (default: all)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    tiny = args.tiny or not torch.cuda.is_available()
    if args.child:
        child(args.child, tiny, args.folder)
        return
    if tiny and not args.tiny:
        print("no GPU was found: tiny sizes on the CPU, whose figures mean nothing", file=sys.stderr)
    from gpu_steps import STEPS

    print(json.dumps(run(args.steps.split(",") if args.steps else list(STEPS), tiny, args.minutes, args.out)))


if __name__ == "__main__":
    main()
