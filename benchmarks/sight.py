"""What a small model learned to see: every measurement of the paper that needs no language model, with and without the gate.

Trains two models that differ in the gate of attention alone, on the same mixture in the same order: scenes, close-ups of
scenes, notes (small documents) and bars (small charts), all at their own size. Then everything is measured on images of
another seed, as `genlip eval` does it, and two pages are written: one about the gated model, one that compares both.

    python benchmarks/sight.py [--samples 300k] [--limit 500] [--out runs/sight] [--pages docs/sight]

The same command goes on with what a stopped one had done. Prints the scores; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import yaml

import genlip
from genlip.data.datasets.base import Labelled
from genlip.data.datasets.segmented_opening import open_named, open_segmented
from genlip.data.sources import open_source
from genlip.data.units import count
from genlip.evaluate.attention.measure import measure_attention
from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
from genlip.evaluate.comparison.compare import compare_models
from genlip.evaluate.comparison.page import comparison_page
from genlip.evaluate.features.measure import measure_features
from genlip.evaluate.model_page import write_model_report
from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
from genlip.evaluate.readout.measure import measure_readout
from genlip.evaluate.resolution.measure import measure_resolution
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import evaluations_folder, write_result
from genlip.evaluate.segmentation.measure import measure_segmentation
from genlip.evaluate.zero_shot.measure import ZeroShotConfig, measure_zero_shot
from genlip.machine import machine, versions
from genlip.recipes.recipe import load_recipe
from genlip.synthetic import scenes
from genlip.train.loop import train_model
from genlip.train.run_log import read_log

KINDS = ("scenes", "closeups", "notes", "bars")
LEARNED, WATCHED, MEASURED = 0, 1, 2  # seeds: what is learned from, what the log follows, what is measured on
TEMPLATES = tuple(f"a {size} {{}} on the {side}" for size in scenes.SIZES for side in scenes.SIDES)
SETTINGS = {
    "images.resize": "native",
    "images.min_patches": 1,
    "images.max_patches": 100,
    "packing.max_tokens": 6528,
    "steps": 0,
    "evaluate_every": 500,
    "data.held_out_samples": 128,
    "log_every": 50,
}


def trained(out: Path, gated: bool, samples: str) -> tuple[Path, float]:
    """The model's folder, and the seconds that training took."""
    for name, seed in {"mixture": LEARNED, "held_out": WATCHED}.items():
        sources = [{"source": f"{kind}:{seed}"} for kind in KINDS]
        (out / f"{name}.yaml").write_text(yaml.safe_dump({"sources": sources}))
    data = {"data.source": out / "mixture.yaml", "data.held_out": out / "held_out.yaml"}
    settings = {"out": out / ("gated" if gated else "ungated"), "model.gated_attention": str(gated).lower()}
    settings |= {**data, **SETTINGS, "samples": samples}
    run = load_recipe("quickstart", [part for key, value in settings.items() for part in (f"--{key}", str(value))])
    model = train_model(run)
    return model, read_log(run.out, "end")[-1]["seconds"]


# -- measuring


@dataclass(frozen=True)
class OneShape:
    """Scenes of a seed that hold a single shape, by its colour and kind: "red circle". What a probe learns from is of the
    seed that the trunk learned from, too."""

    seed: int
    indices: Sequence[int]

    @classmethod
    def of(cls, seed: int, images: int) -> OneShape:
        """The first so many of the seed."""
        single = (index for index in range(10 * images) if len(scenes.scene(seed, index).shapes) == 1)
        return cls(seed, [index for index, _ in zip(single, range(images), strict=False)])

    @property
    def name(self) -> str:
        """What results call it."""
        return f"scenes:{self.seed}, one shape"

    @property
    def classes(self) -> tuple[str, ...]:
        """Every colour with every kind."""
        return tuple(f"{colour} {kind}" for colour in scenes.COLOURS for kind in scenes.KINDS)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Labelled:
        content = scenes.scene(self.seed, self.indices[place])
        (shape,) = content.shapes
        label = self.classes.index(f"{shape.colour} {shape.kind}")
        return Labelled(f"scenes:{self.seed}:{self.indices[place]}", scenes.draw(content), label)


def measures(model: Path, images: int) -> dict[str, Callable[[], Result]]:
    """Every measurement, by what it says on the page, in its order."""
    speaker = genlip.Speaker.load(model)
    named = partial(dict, model=model.parent.name)
    told = {kind: open_source(f"{kind}:{MEASURED}") for kind in KINDS}
    drawn, cache = told["scenes"], model.parent / "features"
    learn, test = OneShape.of(LEARNED, 4 * images), OneShape.of(MEASURED, images)
    maps = [open_segmented(f"scenes:{seed}") for seed in (LEARNED, MEASURED)]
    captions = {
        f"captions of {kind}": partial(
            measure_captioning,
            speaker,
            source,
            CaptioningConfig(transcription=kind == "notes", max_tokens=64),
            limit=images,
            **named(),
        )
        for kind, source in told.items()
    }
    return captions | {
        "zero-shot by likelihood": partial(measure_zero_shot, speaker, test, ZeroShotConfig(templates=TEMPLATES), **named()),
        "attentive probe": partial(measure_probe, speaker, learn, test, cache=cache, **named()),
        "linear probe": partial(measure_probe, speaker, learn, test, ProbeConfig(pooling="mean"), cache=cache, **named()),
        "segmentation": partial(measure_segmentation, speaker, *maps, limit=2 * images, cache=cache, **named()),
        "readout": partial(measure_readout, speaker, open_named(f"scenes:{MEASURED}"), limit=images, **named()),
        "attention": partial(measure_attention, speaker, drawn, limit=images, **named()),
        "features": partial(measure_features, speaker, drawn, limit=12, **named()),
        "resolution": partial(
            measure_resolution,
            lambda one: measure_captioning(one, drawn, CaptioningConfig(max_tokens=64), limit=images // 2, **named()),
            speaker,
            sizes=(32, 48, 64, 80, 96, 128),
        ),
    }


def measured(model: Path, images: int) -> dict[str, Result]:
    """All results of a model, each stored as soon as it is there."""
    found = {}
    for name, measure in measures(model, images).items():
        print(f"{model.parent.name}: {name}", flush=True)
        found[name] = measure()
        write_result(found[name], evaluations_folder(model))
    return found


def main() -> None:
    """Train, measure, write the pages, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="300k", help="that each model learns from (default: 300k)")
    parser.add_argument("--limit", type=count, default=500, help="that are measured on (default: 500)")
    parser.add_argument("--out", type=Path, default=Path("runs/sight"), help="for runs and results (default: runs/sight)")
    parser.add_argument("--pages", type=Path, help="folder for the two pages (default: the same)")
    args = parser.parse_args()
    pages = args.pages or args.out
    for folder in (args.out, pages):
        folder.mkdir(parents=True, exist_ok=True)
    runs = {name: trained(args.out, name == "gated", args.samples) for name in ("gated", "ungated")}
    found = {name: measured(model, args.limit) for name, (model, _) in runs.items()}
    models = [model for model, _ in runs.values()]
    write_model_report(models[0], pages / "gated.html", "What a small model learned to see")
    (pages / "gate.html").write_text(comparison_page(compare_models([str(model) for model in models])), encoding="utf8")
    print("| | " + " | ".join(found) + " |\n|---|---|---|")
    for name, result in found["gated"].items():
        for score in result.scores:
            values = [f"{found[model][name].scores[score].score:.4f}" for model in found]
            print(f"| {name}, {score} | {' | '.join(values)} |")
    seconds = {name: seconds for name, (_, seconds) in runs.items()}
    print(json.dumps({"training_seconds": seconds, "machine": machine(torch.device("cpu")), "versions": versions()}))


if __name__ == "__main__":
    main()
