"""Kills: a command is killed at random moments, started again until it ends, and must give what it gives undisturbed.

    training             the model's weights bit for bit, the samples of every update, and the newest checkpoint's number
    pack                 every shard byte for byte, and nothing besides
    export-published     every file byte for byte; after each kill, what lies there is whole, or is refused
    export-transformers  the same
    eval                 the stored result, all but the time it took

Each run is started once and left alone, which gives its result and how long it takes. Then it is started anew, gets SIGKILL
(its process group, workers included) at a moment drawn evenly from that time, up to three times, and is started a last time.
The command runs in a fork of this process, with all imports done, so that kills fall into its work and not into its start.

    python benchmarks/kills.py [--kills 100] [--kind training ...] [--seed 0]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
import numpy as np
import torch
from PIL import Image

import genlip
from genlip.cli.main import main as genlip_main
from genlip.data.captions import train_tokenizer
from genlip.data.images import ImageConfig
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.data.sources import Procedural, corpus
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.speaker import Speaker
from genlip.train.sample_log import read_samples

__all__ = ["WORKS", "Trial", "Work", "trials"]

# Imported before anything is started: a kill while Python imports shows nothing.
USED = (
    "genlip.train.loop",
    "genlip.data.shards",
    "genlip.evaluate.captioning.measure",
    "genlip.export.published",
    "genlip.export.transformers.convert",
)
MOST_KILLS = 3  # of one run
TINY = [
    "--steps", "24", "--packing.max_tokens", "320", "--packing.streams", "4", "--packing.batch", "2 packs",
    "--model.hidden_size", "32",
    "--model.intermediate_size", "48", "--model.num_hidden_layers", "2", "--model.num_attention_heads", "2",
    "--model.vocab_size", "300",
    "--model.drop_path_rate", "0.3", "--data.held_out_samples", "8", "--data.workers", "0", "--precision", "float32",
    "--ema", "0.9",
    "--evaluate_every", "12", "--spoken", "1", "--save_every", "2", "--log_samples", "true",
]  # fmt: skip


class Work(NamedTuple):
    """A command, and what must not depend on kills.

    Attributes:
        arguments: of genlip, from the folder of inputs and the one to write.
        result: by name, what a finished run left.
        begin: what lies in the folder to write before the first start.
        left: what is wrong with what a kill left; from the folder and that of the undisturbed run.
    """

    arguments: Callable[[Path, Path], list[str]]
    result: Callable[[Path], dict[str, Any]]
    begin: Callable[[Path, Path], None] = lambda inputs, out: None
    left: Callable[[Path, Path], str] = lambda out, whole: ""


class Trial(NamedTuple):
    """A run that was killed: how often, when in seconds, and what is unequal; nothing where all is equal."""

    kind: str
    number: int
    kills: tuple[float, ...]
    unequal: str


def inputs_in(folder: Path) -> None:
    """What the commands read: a tokenizer, a model of four million parameters, and 200 captioned images."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(corpus(Procedural("scenes", 0, 300), 300), 300)
    config = GenLIPConfig(hidden_size=192, intermediate_size=256, num_hidden_layers=6, num_attention_heads=4, vocab_size=300)
    genlip.save(GenLIP(config), folder / "model")
    save_preprocessing(folder / "model", Preprocessing(images=ImageConfig(size=64)), tokenizer)
    (folder / "images").mkdir()
    for number in range(200):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03}.png")
        (folder / "images" / f"{number:03}.txt").write_text(f"noise number {number}")


# -- what must be equal


def files_of(folder: Path) -> dict[str, str]:
    """The name of every file in a folder, and a hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def trained(out: Path) -> dict[str, Any]:
    """Weights, samples and checkpoints of a run."""
    checkpoints = sorted(path.name for path in (out / "checkpoints").iterdir())
    return {**files_of(out / "model"), "samples": read_samples(out), "checkpoints": checkpoints}


def measured(out: Path) -> dict[str, Any]:
    """Every stored result, without what tells of the machine and the time; and no other file, but pictures."""
    found = {}
    for file in sorted((out / "evaluations").rglob("*")):
        if file.name == "result.json":
            found |= {
                f"{file.parent.name} {name}": value
                for name, value in json.loads(file.read_text()).items()
                if name not in ("about", "model")
            }
        elif file.is_file() and file.suffix != ".lock":
            found[str(file.relative_to(out))] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return found


def half_export(out: Path, whole: Path) -> str:
    """What is wrong with an export that was killed: it may be refused, or be as the whole one is; nothing else."""
    try:
        found = Speaker.load(out)
    except (ValueError, OSError):
        return ""
    wanted = Speaker.load(whole)
    same = (found.images, found._captions and found._captions.config) == (
        wanted.images,
        wanted._captions and wanted._captions.config,
    )
    alike = all(torch.equal(value, wanted.model.state_dict()[name]) for name, value in found.model.state_dict().items())
    return "" if same and alike else "a half-written export is read, with other settings or weights"


def exported(to: str) -> Work:
    """An export to a format."""
    return Work(lambda inputs, out: ["export", str(inputs / "model"), str(out), "--to", to], files_of, left=half_export)


WORKS = {
    "training": Work(
        lambda inputs, out: ["train", "quickstart", "--out", str(out), "--tokenizer",
        str(inputs / "model" / "tokenizer.json"), *TINY], trained
    ),
    "pack": Work(
        lambda inputs, out: ["data", "pack", str(inputs / "images"), str(out), "--samples-per-shard", "15", "--workers",
        "2", "--verify"], files_of
    ),
    "export-published": exported("published"),
    "export-transformers": exported("transformers"),
    "eval": Work(
        lambda inputs, out: ["eval", "captioning", str(out), "scenes:1", "--limit", "48", "--batch-size", "4",
        "--max-tokens", "12"],
        measured,
        begin=lambda inputs, out: shutil.copytree(inputs / "model", out) and None,
    ),
}  # fmt: skip


# -- running and killing


def started(arguments: Sequence[str], log: Path) -> int:
    """A fork that runs genlip in a process group of its own; its process id."""
    if child := os.fork():
        return child
    status = 1
    try:
        os.setsid()
        sys.stdout = sys.stderr = log.open("a", buffering=1)
        os.dup2(sys.stderr.fileno(), 1), os.dup2(sys.stderr.fileno(), 2)
        status = genlip_main(list(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(child: int, seconds: float) -> int | None:
    """The exit status of a process that ends within so many seconds; None for one that does not."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if (rest := end - time.monotonic()) <= 0:
            return None
        time.sleep(min(0.002, rest))


def kill(child: int) -> None:
    """End a process group at once."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def undisturbed(arguments: Sequence[str], log: Path, limit: float) -> str:
    """Run to the end; what went wrong, or nothing."""
    child = started(arguments, log)
    status = ended(child, limit)
    if status is None:
        kill(child)
        return f"did not end within {limit:.0f} s"
    tail = " ".join(log.read_text(errors="replace").split())[-300:]
    return f"ended with status {status}: {tail}" if status else ""


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The names of what is unequal, a few of them."""
    names = [name for name in {**wanted, **found} if name not in found or name not in wanted or found[name] != wanted[name]]
    return f"unequal: {', '.join(names[:5])}" if names else ""


def trials(kind: str, work: Work, inputs: Path, folder: Path, kills: int, seed: int) -> Iterator[Trial]:
    """Runs that are killed, until so many kills were met."""
    whole, log = folder / "whole", folder / "log"
    work.begin(inputs, whole)
    began = time.monotonic()
    if wrong := undisturbed(work.arguments(inputs, whole), log, 600):
        raise RuntimeError(f"{kind}: the undisturbed run {wrong}")
    seconds = time.monotonic() - began
    wanted, number = work.result(whole), 0
    while kills > 0:
        dice, out = Random(f"{kind} {seed} {number}"), folder / f"{number}"
        work.begin(inputs, out)
        moments, left = [], ""
        for _ in range(min(kills, dice.randint(1, MOST_KILLS))):
            moment = dice.uniform(0, seconds)
            child = started(work.arguments(inputs, out), log)
            if ended(child, moment) is not None:
                break
            kill(child)
            moments.append(round(moment, 3))
            left = left or work.left(out, whole)
        wrong = left or undisturbed(work.arguments(inputs, out), log, 60 + 20 * seconds)
        yield Trial(kind, number, tuple(moments), wrong or difference(work.result(out), wanted))
        shutil.rmtree(out)
        kills, number = kills - len(moments), number + 1


# -- what is told


def figures(found: Sequence[Trial]) -> dict[str, dict[str, int]]:
    """Kills by kind: how many runs met them, and how many ended with equal results."""
    told: dict[str, dict[str, int]] = {}
    for trial in found:
        own = told.setdefault(trial.kind, {"runs": 0, "kills": 0, "equal": 0, "unequal": 0})
        own["runs"] += 1
        own["kills"] += len(trial.kills)
        own["unequal" if trial.unequal else "equal"] += len(trial.kills)
    return told


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, for the package's cache too."""
    with tempfile.TemporaryDirectory(prefix="kills.") as folder:
        os.environ["GENLIP_CACHE"] = f"{folder}/cache"
        yield Path(folder)


def main() -> None:
    """Kill and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="over all kinds (default: 100)")
    parser.add_argument("--kind", choices=tuple(WORKS), action="append", help="these kinds alone")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for module in USED:
        import_module(module)
    found, kinds = [], args.kind or list(WORKS)
    with scratch() as folder:
        inputs_in(folder)
        for kind in kinds:
            (folder / kind).mkdir()
            for trial in trials(kind, WORKS[kind], folder, folder / kind, -(-args.kills // len(kinds)), args.seed):
                found.append(trial)
                print(
                    f"{kind} {trial.number}: killed after {trial.kills} s: {trial.unequal or 'equal'}",
                    flush=True,
                )
    told = figures(found)
    print(f"{'kind':20} {'runs':>6} {'kills':>6} {'equal':>6} {'unequal':>8}")
    for kind, own in told.items():
        print(f"{kind:20} {own['runs']:6} {own['kills']:6} {own['equal']:6} {own['unequal']:8}")
    print(json.dumps(told))
    sys.exit(any(own["unequal"] for own in told.values()))


if __name__ == "__main__":
    main()
