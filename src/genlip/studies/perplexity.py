"""Perplexity of a language model that learns to read an encoder: the measure of figure 1 of the paper (arXiv 2605.00809).

In: encoders, a language model, data. Out: a `Result` for each encoder. For PPL1 the projector is trained, for PPL2 the
language model too. All runs see the same samples in the same order for the same number of steps, each at several learning
rates. The rate is chosen by the loss on held-out samples, and the figures are those of other samples. All encoders read
images of one size; encoders of timm and Transformers read whole images, squashed to it, with their learned positions
resampled.

Every run is one of the training engine, in a folder of its own. A study that was interrupted goes on where it stopped, and
one with further encoders or rates trains only those.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genlip.data.dialogues import Dialogue
from genlip.encoders.names import library_of
from genlip.evaluate.perplexity.measure import condition_losses, perplexity_result, usable_dialogues
from genlip.evaluate.result import Result
from genlip.machine import machine, versions
from genlip.mllm.folder import read_folder
from genlip.mllm.model import MLLM
from genlip.mllm.reader import DialogueReader
from genlip.mllm.run import MLLMRun
from genlip.recipes.recipe import load_recipe
from genlip.train.loop import train_model
from genlip.train.mllm_task import MLLMTask
from genlip.train.run_log import read_log

__all__ = ["STAGES", "PerplexityConfig", "encoder_folder", "measure_perplexity"]

STAGES = {"PPL1": ("projector",), "PPL2": ("projector", "language")}
"""The parts that are trained, by the name of the perplexity."""


@dataclass(frozen=True, kw_only=True)
class PerplexityConfig:
    """How the models are trained and measured.

    Attributes:
        recipe: of the runs; `overrides` of `measure_perplexity` change its settings.
        steps: updates of each run.
        learning_rates: of the projector, each tried; that with the lowest held-out loss is taken.
        language_rate: learning rate of the language model for PPL2, as a share of the projector's.
        stages: which perplexities are measured, PPL1, PPL2 or both.
        limit: number of dialogues that are measured.
        seed: of the order of samples, the projector and random encoders.
    """

    recipe: str = "_mllm_perplexity"
    steps: int = 200
    learning_rates: tuple[float, ...] = (1e-3,)
    language_rate: float = 0.1
    stages: tuple[str, ...] = ("PPL1", "PPL2")
    limit: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := set(self.stages) - STAGES.keys():
            raise ValueError(f"stages {', '.join(sorted(unknown))}: need some of {', '.join(STAGES)}")
        if not self.stages or not self.learning_rates or self.steps < 1 or self.limit < 2:
            raise ValueError(
                f"steps {self.steps} must be at least 1, limit {self.limit} at least 2, and there must be stages and "
                "learning_rates"
            )


class _Trained(NamedTuple):
    """One finished run: its held-out losses by step, and the run."""

    run: MLLMRun
    rate: float
    curve: list[tuple[int, float | None]]


def measure_perplexity(
    encoders: Sequence[str],
    data: str,
    config: PerplexityConfig | None = None,
    *,
    language_model: str,
    train: str,
    out: str | Path = "runs/perplexity",
    overrides: Sequence[str] = (),
    advance: Callable[[str], None] = lambda run: None,
) -> list[Result]:
    """Train and measure each encoder; the results are in the order of the encoders.

    encoders        as `model.encoder` of an MLLM recipe takes them
    data            dialogues or captioned images that are measured
    language_model  a folder, a Hub id or a .gguf file
    train           dialogues or captioned images that are trained on, which must be others
    out             folder of the runs
    overrides       further settings of the recipe, such as ["--packing.batch", "2 packs"]
    advance         is called with the name of each run once it is trained

    Raises ValueError for an encoder that is named twice, for data that is trained on, and as `train_model` does.
    """
    config = config or PerplexityConfig()
    if len(set(encoders)) < len(encoders) or not encoders:
        raise ValueError(f"encoders {list(encoders)}: need at least one, each once")
    if data == train:
        raise ValueError(f"{data} is measured and trained on: measure other data, such as scenes:2 after --train scenes:0")
    base = ["--model.language_model", language_model, "--data.source", train, *overrides]
    found = []
    for encoder in encoders:
        started = time.perf_counter()
        trained = {stage: _sweep(config, encoder, stage, Path(out), base, advance) for stage in config.stages}
        found.append(_measured(config, encoder, data, trained, language_model, train, overrides, started))
    return found


def _sweep(
    config: PerplexityConfig, encoder: str, stage: str, out: Path, base: Sequence[str], advance: Callable[[str], None]
) -> list[_Trained]:
    """The runs of one encoder and stage, one for each learning rate."""
    found = []
    for rate in config.learning_rates:
        folder = encoder_folder(out, encoder) / f"{stage}-{rate:g}-{config.steps}-seed{config.seed}"
        settings = {
            "out": folder, "model.encoder": encoder, "train": f"[{', '.join(STAGES[stage])}]", "steps": config.steps,
            "optimizer.learning_rate": rate, "learning_rates.language": rate * config.language_rate, "seed": config.seed,
        }  # fmt: skip
        if library_of(encoder)[0]:  # encoders of genlip read any size, and never crop
            settings |= {"model.interpolate_positions": "true", "model.squash": "true"}
        run: Any = load_recipe(config.recipe, [*base, *(f"--{key}={value}" for key, value in settings.items())])
        train_model(run)
        found.append(_Trained(run, rate, _curve(Path(run.out))))
        advance(str(folder))
    return found


def _last_loss(trained: _Trained) -> float:
    """The last held-out loss; infinite where a rate was too high for a number."""
    loss = trained.curve[-1][1]
    return math.inf if loss is None or math.isnan(loss) else loss


def _curve(folder: Path) -> list[tuple[int, float | None]]:
    """(step, held-out loss) of a run; None where the loss was no number."""
    return [(event["step"], event["loss"]) for event in read_log(folder, "held_out")]


def _measured(
    config: PerplexityConfig,
    encoder: str,
    data: str,
    trained: dict[str, list[_Trained]],
    language_model: str,
    train: str,
    overrides: Sequence[str],
    started: float,
) -> Result:
    losses, chosen, dialogues = {}, {}, list[Dialogue]()
    for stage, runs in trained.items():
        best = min(runs, key=_last_loss)
        model, reader = open_trained(best.run, data)
        dialogues = dialogues or usable_dialogues(reader.source, reader, config.limit)
        losses[stage], chosen[stage] = condition_losses(model, reader, dialogues), best.rate
    curves = [
        {
            "stage": stage,
            "learning_rate": one.rate,
            "steps": [step for step, _ in one.curve],
            "loss": [loss for _, loss in one.curve],
        }
        for stage, runs in trained.items()
        for one in runs
    ]
    settings = {
        "language_model": language_model, "train": train, "recipe": config.recipe, "steps": config.steps,
        "learning_rates": list(config.learning_rates), "language_rate": config.language_rate, "seed": config.seed,
        "overrides": list(overrides),
    }  # fmt: skip
    about = {
        "machine": machine(_device()),
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    figures = {"curves": curves, "chosen": chosen}
    keys = [dialogue.key for dialogue in dialogues]
    return perplexity_result(encoder, data, keys, losses, settings=settings, figures=figures, about=about)


def open_trained(run: MLLMRun, data: str) -> tuple[MLLM, DialogueReader]:
    """The model that a finished run has written, with a reader of other data."""
    folder = Path(run.out) / "model"
    source = MLLMTask.open_source(run, data)
    task = MLLMTask(run, MLLMTask.find_processor(run, source, folder))
    model = task.build(task.attention(torch.device("cpu"), torch.float32))
    task.load_weights(model, read_folder(folder).weights, str(folder))
    return model.to(_device()).eval(), task.reader(source)


def _device() -> torch.device:
    """Where trained models are measured."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def encoder_folder(out: Path, encoder: str) -> Path:
    """The folder of an encoder's runs and results in that of the study."""
    return out / re.sub(r"[^A-Za-z0-9.]+", "-", encoder).strip("-")[-80:]
