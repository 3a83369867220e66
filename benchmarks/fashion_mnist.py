"""Fashion-MNIST: a model that learns captions alone, then names clothes by likelihood, and lends its features to probes.

Needs the four idx files of Fashion-MNIST (Debian's package dataset-fashion-mnist puts them where they are looked for). The
60,000 training pictures, and their mirror images, become shards with a caption each ("a photo of an ankle boot"); a model of
1.0 M parameters reads them twice, and is measured on the 10,000 test pictures, which training never saw, not even to stop.

    python benchmarks/fashion_mnist.py [--folder IDX_FILES] [--epochs 2] [--out FOLDER]

Prints a table; the last line is JSON. The results are stored as `genlip eval` stores them: FOLDER/model/evaluations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import ImageOps

import genlip
from genlip.data.datasets.captioned import captioned
from genlip.data.datasets.opening import open_labelled
from genlip.data.examples import Caption, Example
from genlip.data.shards import ShardConfig, write_shards
from genlip.data.sources import Source
from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import evaluations_folder, write_result
from genlip.evaluate.zero_shot.measure import ZeroShotConfig, measure_zero_shot
from genlip.machine import machine, versions
from genlip.recipes.recipe import load_recipe
from genlip.train.loop import train_model
from genlip.train.run_log import read_log

FOLDER = Path("/usr/share/datasets/fashion-mnist")
TEMPLATE = "a photo of {a}"
SETTINGS = {
    "images.size": 28,
    "model.patch_size": 4,
    "model.num_channels": 1,
    "model.hidden_size": 128,
    "model.intermediate_size": 352,
    "packing.max_tokens": 4096,
    "steps": 0,
    "evaluate_every": 1_000_000,
    "save_every": 1000,
    "log_every": 100,
}


@dataclass(frozen=True)
class Mirrored:
    """The images of a source, then all of them again with left and right exchanged."""

    source: Source

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def __len__(self) -> int:
        return 2 * len(self.source)

    def __getitem__(self, index: int) -> Example:
        again, place = divmod(index, len(self.source))
        example = self.source[place]
        return example._replace(key=f"{example.key}, mirrored", image=ImageOps.mirror(example.image)) if again else example

    def caption(self, index: int) -> Caption:
        """The caption alone."""
        return self.source.caption(index % len(self.source))


def trained(out: Path, folder: Path, epochs: int) -> tuple[Path, float]:
    """The model's folder, and the seconds that training took. Held-out losses are of training pictures left out."""
    shards = out / "shards"
    labelled = open_labelled(str(folder / "train-images-idx3-ubyte.gz"), "fashion-mnist")
    write_shards(Mirrored(captioned(labelled, [TEMPLATE])), shards, ShardConfig(samples=10_000), workers=2)
    data = {"data.source": f"{shards}/*.tar", "data.held_out": "", "data.held_out_samples": 64}
    settings = {"out": out / "run", **data, **SETTINGS, "epochs": epochs}
    run = load_recipe("quickstart", [part for key, value in settings.items() for part in (f"--{key}", str(value))])
    model = train_model(run)
    return model, read_log(run.out, "end")[-1]["seconds"]


def measured(model: Path, folder: Path) -> dict[str, Result]:
    """Zero-shot by likelihood, and both probes, on all test pictures."""
    speaker = genlip.Speaker.load(model)
    train_set, test_set = (
        open_labelled(str(folder / f"{part}-images-idx3-ubyte.gz"), "fashion-mnist") for part in ("train", "t10k")
    )
    cache = model.parent / "features"
    measures: dict[str, Callable[[], Result]] = {
        "zero-shot by likelihood": lambda: measure_zero_shot(
            speaker, test_set, ZeroShotConfig(templates=(TEMPLATE,)), model=str(model)
        ),
        "attentive probe": lambda: measure_probe(speaker, test_set, train=train_set, model=str(model), cache=cache),
        "linear probe on the mean": lambda: measure_probe(
            speaker, test_set, ProbeConfig(pooling="mean"), train=train_set, model=str(model), cache=cache
        ),
    }
    found = {}
    for name, measure in measures.items():
        found[name] = measure()
        write_result(found[name], evaluations_folder(model))
    return found


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the idx files (default: {FOLDER})")
    parser.add_argument("--epochs", type=int, default=2, help="times that the captions are read (default: 2)")
    parser.add_argument("--out", type=Path, help="folder for shards, run and results; else a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model, seconds = trained(args.out or Path(temporary), args.folder, args.epochs)
        found = measured(model, args.folder)
    print("| | top-1 | 95 % interval | seconds |\n|---|---|---|---|")
    for name, result in found.items():
        top = result.scores["top-1"]
        low, high = top.interval()
        print(f"| {name} | {top.score:.2%} | {low:.2%} to {high:.2%} | {result.about['seconds']:.0f} |")
    scores = {name: result.scores["top-1"].score for name, result in found.items()}
    about = {"machine": machine(torch.device("cpu")), "versions": versions()}
    print(json.dumps({"training_seconds": seconds, "epochs": args.epochs, "top-1": scores, **about}))


if __name__ == "__main__":
    main()
