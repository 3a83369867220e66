"""Do two versions of the code give the same numbers? Records them with one version, and compares them with another.

It trains 200 steps of the quickstart, both stages of a CPU recipe, and a run that is killed and resumed, with one thread of
PyTorch; then it measures the quickstart's model by every `genlip eval`. What is recorded: losses and gradient norms of every
step, held-out figures, the samples of every pack, SHA-256 of the weights, and the stored results without time and machine.

    python benchmarks/same_numbers.py record before.json      # with one version installed
    python benchmarks/same_numbers.py record after.json       # with the other, on the same machine
    python benchmarks/same_numbers.py compare before.json after.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

TRAIN = ("--threads", "1", "--log_every", "1", "--log_samples", "true")
EVALUATIONS = (
    ("captioning", "scenes:1", "--limit", "40"),
    ("captioning", "scenes:1", "--limit", "20", "--sizes", "48,64"),
    ("zero-shot", "classes", "--template", "{}"),
    ("probe", "classes", "--train", "classes", "--epochs", "3"),
    ("segmentation", "scenes:1", "--train", "scenes:0", "--limit", "40", "--epochs", "2"),
    ("readout", "scenes:1", "--limit", "40"),
    ("attention", "scenes:1", "--limit", "40"),
    ("features", "scenes:1", "--limit", "12"),
)  # fmt: skip


def genlip(*words: str) -> None:
    """One command, with one thread. Raises CalledProcessError if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "genlip", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def train_and_kill(*words: str, after: Path) -> None:
    """A training that is killed as soon as a checkpoint is there."""
    run = subprocess.Popen([sys.executable, "-m", "genlip", "train", *words], stdout=subprocess.DEVNULL)
    while not after.exists():
        time.sleep(0.05)
        assert run.poll() is None, "the run ended before it was killed"
    run.send_signal(signal.SIGKILL)
    run.wait()


def numbers_of_run(folder: Path) -> dict[str, Any]:
    """What a run logged, which samples it used, and its weights."""
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    kept = ("step", "loss", "gradient_norm", "learning_rate", "picture_gain", "spoken")
    logged = [
        {name: event[name] for name in kept if name in event} for event in events if "step" in event and "loss" in event
    ]
    samples = [line for file in sorted(folder.glob("samples*.jsonl")) for line in file.read_text().splitlines()]
    weights = {name: digest(folder / "model" / name) for name in ("model.safetensors", "config.json", "tokenizer.json")}
    return {"logged": logged, "samples": hashlib.sha256("\n".join(samples).encode()).hexdigest(), **weights}


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def make_classes(folder: Path) -> None:
    """A small set of images of classes: noise of three colours."""
    for name, tint in (("red", (255, 80, 80)), ("green", (80, 255, 80)), ("blue", (80, 80, 255))):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (64, 64), tint)
            image.paste(tuple(20 * number for _ in range(3)), (number, number, 40, 44))
            image.save(folder / name / f"{number}.png")


def record() -> dict[str, Any]:
    """Train and measure in the current folder."""
    found = {}
    genlip("train", "quickstart", "--steps", "200", "--evaluate_every", "100", "--out", "quickstart", *TRAIN)
    found["quickstart"] = numbers_of_run(Path("quickstart"))
    genlip("train", "stage1_l16_cpu", *TRAIN)
    genlip("train", "stage2_l16_cpu", *TRAIN)
    found["stage 1"], found["stage 2"] = (numbers_of_run(Path(f"runs/stage{stage}_l16_cpu")) for stage in (1, 2))
    words = ("stage1_l16_cpu", "--out", "killed", "--save_every", "20", *TRAIN)
    train_and_kill(*words, after=Path("killed/checkpoints/step-00000040"))
    genlip("train", *words)
    found["killed and resumed"] = numbers_of_run(Path("killed"))
    make_classes(Path("classes"))
    for words in EVALUATIONS:
        genlip("eval", words[0], "quickstart/model", *words[1:])
    for file in sorted(Path("quickstart/model/evaluations").glob("*/result.json")):
        result = json.loads(file.read_text())
        result["about"] = {name: result["about"].get(name) for name in ("precision", "tokenizer")}
        found[f"eval {file.parent.name}"] = result
    return found


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Where two records differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(before.keys() | after.keys())
        return [text for name in names for text in differences(before.get(name), after.get(name), f"{where}/{name}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            text for i, pair in enumerate(zip(before, after, strict=True)) for text in differences(*pair, f"{where}/{i}")
        ]
    return [] if before == after else [f"{where}: {str(before)[:80]} before, {str(after)[:80]} after"]


def main() -> int:
    """Record or compare; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("files", nargs="+", type=Path)
    args = parser.parse_args()
    if args.action == "record":
        target = args.files[0].absolute()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            target.write_text(json.dumps(record(), indent=1, sort_keys=True))
            os.chdir("/")
        return 0
    before, after = (json.loads(file.read_text()) for file in args.files)
    found = differences(before, after)
    numbers = sum(len(part["logged"]) for part in before.values() if "logged" in part)
    print("\n".join(found[:40]))
    print(f"{len(found)} differences in {len(before)} records, {numbers} logged steps")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
