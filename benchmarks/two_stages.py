"""What stage 2 adds: stage 1 alone, stage 1 then stage 2, and native resolution from the start, on the same samples.

Notes (a name and a number on each line) and bars (a number above each), half of each, are written as tar shards: the kinds
`notes` and `bars` of procedural images. Their sides are multiples of 16 pixels, so that native patches hold the very pixels
that were drawn. Every arm reads every example once. Stage 1 squeezes images to a fixed square; stage 2 starts from stage 1's
model and reads them as they are.

    python benchmarks/two_stages.py [--first 60k] [--second 40k] [--held-out 500] [--out FOLDER]

All arms are measured at native resolution on notes and bars of another seed, stage 1 also at its own resolution.
Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml

import genlip
from genlip.data.captions import train_tokenizer
from genlip.data.samples import SampleReader
from genlip.data.shards import ShardConfig, write_shards
from genlip.data.sources import Mixture, Procedural, corpus, open_source
from genlip.data.units import count
from genlip.evaluate.captioning.caption_scores import exact_match
from genlip.evaluate.captioning.generated import GeneratedCaption, generate_captions
from genlip.evaluate.captioning.numbers_read import numbers_in, numbers_read
from genlip.evaluate.held_out import held_out
from genlip.machine import machine, versions
from genlip.recipes.recipe import load_recipe
from genlip.train.loop import train_model
from genlip.train.run_log import read_log

KINDS = ("notes", "bars")
FIXED = ("--images.resize", "fixed", "--images.size", "64")
NATIVE = ("--images.resize", "native", "--images.min_patches", "1", "--images.max_patches", "100")
QUIET = ("--evaluate_every", "1000000", "--save_every", "1000000", "--log_every", "50", "--data.held_out_samples", "64")
AS_DRAWN = {"resize": "native", "min_patches": 1, "max_patches": 100}
STAGE_2_RATE = "1e-3"
VOCABULARY = 384  # as the quickstart's
MAX_TOKENS = 64  # of a spoken caption; the longest true one has about half as many


def write_data(folder: Path, sizes: dict[str, int]) -> None:
    """Shards, mixtures (`first.yaml` and `second.yaml` of so many examples, and `both.yaml`, all of these), a tokenizer."""
    for seed, (part, size) in enumerate(sizes.items()):
        for kind in KINDS:
            write_shards(Procedural(kind, seed, size // 2), folder / part / kind, ShardConfig(samples=2000), workers=2)
    for name, parts in {**{part: [part] for part in sizes}, "both": ["first", "second"]}.items():
        sources = [{"source": f"{part}/{kind}/*.tar"} for part in parts for kind in KINDS]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"sources": sources}))
    captions = corpus(open_source(str(folder / "both.yaml")), 2000)
    train_tokenizer(captions, VOCABULARY).save(str(folder / "tokenizer.json"))


# -- training


@dataclass(frozen=True)
class Arm:
    """What was trained: the model's folder, and its cost in samples, rows (patches and text tokens) and seconds."""

    model: Path
    samples: int
    rows: int
    seconds: float

    def after(self, stage: Arm) -> Arm:
        """The cost of an earlier stage on top."""
        return Arm(self.model, self.samples + stage.samples, self.rows + stage.rows, self.seconds + stage.seconds)


def trained(folder: Path, name: str, part: str, images: Sequence[str], *more: str) -> Arm:
    """Train on every example of a part of the data once."""
    data = ("--data.source", str(folder / f"{part}.yaml"), "--data.held_out", str(folder / "held_out.yaml"))
    once = ("--steps", "0", "--epochs", "1", "--tokenizer", str(folder / "tokenizer.json"))
    run = load_recipe("quickstart", ["--out", str(folder / name), *data, *once, *QUIET, *images, *more])
    model, end = train_model(run, resume="never"), read_log(run.out, "end")[-1]
    return Arm(model, sum(end["used"].values()), end["tokens"], end["seconds"])


def arms(folder: Path) -> dict[str, Arm]:
    """Stage 1 alone, both stages, and stage 2's resolution from the start, each on all examples once."""
    first = trained(folder, "first", "first", FIXED)
    start = ("--init_from", str(first.model), "--optimizer.learning_rate", STAGE_2_RATE)
    return {
        "stage 1 alone": trained(folder, "stage_1", "both", FIXED),
        "stage 1, then stage 2": trained(folder, "second", "second", NATIVE, *start).after(first),
        "native from the start": trained(folder, "native", "both", NATIVE),
    }


# -- measuring


def reading(spoken: Sequence[GeneratedCaption]) -> dict[str, float]:
    """Shares in [0, 1]: of numbers, the i-th of a true caption being right if the i-th that was spoken is the same; of
    captions with the same numbers in the same order; of captions that are the same text."""
    said, true = [one.spoken for one in spoken], [[one.caption] for one in spoken]
    return {
        "numbers": numbers_read(said, true).score,
        "all_numbers": sum(numbers_in(one.caption) == numbers_in(one.spoken) for one in spoken) / len(spoken),
        "exact": exact_match(said, true).score,
    }


def measured(model: Path, folder: Path, examples: int, **images: Any) -> dict[str, Any]:
    """Loss, picture gain and reading on held-out examples, of both kinds together and of each; `images` replaces how the
    model was taught to see them."""
    speaker = genlip.Speaker.load(model, **images)
    parts = [open_source(str(folder / "held_out" / kind / "*.tar")) for kind in KINDS]
    reader = SampleReader(Mixture(parts), speaker.images, speaker.captions, speaker.model.config)
    found = held_out(speaker.model, reader.some(examples)[0])
    spoken = [generate_captions(speaker, part, range(examples // 2), max_tokens=MAX_TOKENS) for part in parts]
    kinds = {kind: reading(some) for kind, some in zip(KINDS, spoken, strict=True)}
    return {"loss": found.loss, "picture_gain": found.picture_gain, **reading([*chain(*spoken)]), "kinds": kinds}


def row(name: str, arm: Arm, found: dict[str, Any]) -> str:
    """A line of the table."""
    shares = [f"{found[key]:.1%}" for key in ("numbers", "all_numbers", "exact")]
    cost = f"{arm.samples:,} | {arm.rows / 1e6:.2f} M | {arm.seconds:.0f} s"
    return f"| {name} | {found['loss']:.3f} | {found['picture_gain']:.2f} | {' | '.join(shares)} | {cost} |"


def main() -> None:
    """Draw, train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=count, default=60_000, help="examples of stage 1, before stage 2")
    parser.add_argument("--second", type=count, default=40_000, help="examples of stage 2")
    parser.add_argument("--held-out", type=count, default=500, help="examples that are measured on")
    parser.add_argument("--out", type=Path, help="an empty folder for data and models; else a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        write_data(folder, {"first": args.first, "second": args.second, "held_out": args.held_out})
        found = arms(folder)
        native = {name: measured(arm.model, folder, args.held_out, **AS_DRAWN) for name, arm in found.items()}
        name = "stage 1 alone"
        own = measured(found[name].model, folder, args.held_out)
    print("| | loss | picture gain | numbers | all numbers | exact | samples | rows | training |")
    for name, arm in found.items():
        print(row(name, arm, native[name]))
    print(row("stage 1 alone, at 64 x 64", found["stage 1 alone"], own))
    costs = {name: {"samples": a.samples, "rows": a.rows, "seconds": a.seconds} for name, a in found.items()}
    about = {"machine": machine(torch.device("cpu")), "versions": versions()}
    print(json.dumps({"native": native, "own": own, "costs": costs, **about}))


if __name__ == "__main__":
    main()
