"""Measures of a study: what all arms are measured by, with the same heads, data and settings.

In: a trained arm. Out: scores by name. Each is stored in the run's folder, and measured once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from genlip.baselines.arm_task import load_encoder
from genlip.baselines.contrastive import ClipTask, SiglipTask
from genlip.baselines.retrieval import measure_retrieval
from genlip.data.datasets.opening import open_labelled
from genlip.evaluate.attention.measure import measure_attention
from genlip.evaluate.captioning.measure import measure_captioning
from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
from genlip.evaluate.probe.pooling import Pooling
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_results, write_result
from genlip.evaluate.scores import Scores
from genlip.evaluate.segmentation.measure import SegmentationConfig, measure_segmentation
from genlip.studies.perplexity import PerplexityConfig, measure_perplexity
from genlip.studies.runs import Trained
from genlip.train.task import task_class

__all__ = ["Measures", "measure_arm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measures:
    """What is measured; an empty setting leaves its measure out.

    Attributes:
        probe: sets of images with classes: to train heads on, and to test them.
        classes: names of the classes, where the sets lack them.
        segmentation: sets of images with label maps: to train on, and to test.
        captioning: captioned images, for arms that speak.
        attention: captioned images, for arms that speak: the shares of attention that go to the first patch (the sink).
        retrieval: captioned images, for arms with a text tower.
        perplexity: a language model, dialogues or captioned images to train on, and others to measure: PPL1.
        perplexity_steps: updates of the projector.
        limit: images of a set, at most; 0 takes all.
        epochs: of the heads of probe and segmentation.
    """

    probe: tuple[str, ...] = ()
    classes: str = ""
    segmentation: tuple[str, ...] = ()
    captioning: str = ""
    attention: str = ""
    retrieval: str = ""
    perplexity: tuple[str, ...] = ()
    perplexity_steps: int = 200
    limit: int = 0
    epochs: int = 10

    def __post_init__(self) -> None:
        for name, needed in (("probe", 2), ("segmentation", 2), ("perplexity", 3)):
            if len(getattr(self, name)) not in (0, needed):
                raise ValueError(f"{name} {getattr(self, name)}: need {needed} names, or none")
        if self.limit < 0 or self.epochs < 1 or self.perplexity_steps < 1:
            raise ValueError(
                f"limit {self.limit} must not be negative, epochs {self.epochs} and perplexity_steps "
                f"{self.perplexity_steps} must be at least 1"
            )


class _Measure(NamedTuple):
    """One measurement.

    Attributes:
        settings: the fields of `Measures` that it depends on; without the first of them it is not made.
        make: makes it, or returns None where the arm lacks what it needs.
        scores: which scores are taken, and their names in a study.
    """

    settings: tuple[str, ...]
    make: Callable[[Trained, Measures], Result | None]
    scores: Mapping[str, str]


def measure_arm(trained: Trained, measures: Measures) -> dict[str, Scores]:
    """All scores of a trained arm that it can have, by name.

    A high value is good, except of "PPL1" and of the shares of attention to the first patch.
    """
    found: dict[str, Scores] = {}
    if trained.loss == math.inf:  # it diverged, and its features are no numbers
        return found
    for name, one in _MEASURES.items():
        if not getattr(measures, one.settings[0]):
            continue
        asked = {setting: getattr(measures, setting) for setting in one.settings}
        digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:10]
        folder = _place(trained) / f"{name}-{digest}"
        stored = read_results(folder)
        result = stored[0] if stored else one.make(trained, measures)
        if result is None:
            continue
        if not stored:
            write_result(result, folder)
        found |= {its: result.scores[theirs] for theirs, its in one.scores.items() if theirs in result.scores}
    shutil.rmtree(_features(trained), ignore_errors=True)
    return found


def _place(trained: Trained) -> Path:
    return Path(trained.run.out) / "measured"


def _features(trained: Trained) -> Path:
    """Features that the probes share; they are removed once all is measured."""
    return _place(trained) / "features"


def _probe(pooling: Pooling, trained: Trained, measures: Measures) -> Result:
    train, test = (open_labelled(spec, measures.classes) for spec in measures.probe)
    config = ProbeConfig(pooling=pooling, epochs=measures.epochs)
    return measure_probe(load_encoder(trained.model), test, config, train=train, **_options(trained, measures))


def _segmentation(trained: Trained, measures: Measures) -> Result:
    train, test = measures.segmentation
    config = SegmentationConfig(epochs=measures.epochs)
    return measure_segmentation(load_encoder(trained.model), test, config, train=train, **_options(trained, measures))


def _options(trained: Trained, measures: Measures) -> dict[str, Any]:
    return {"model": str(trained.model), "limit": measures.limit or None, "cache": _features(trained)}


def _captioning(trained: Trained, measures: Measures) -> Result | None:
    speaker = load_encoder(trained.model)
    if not speaker.speaks:
        return None
    return measure_captioning(speaker, measures.captioning, model=str(trained.model), limit=measures.limit or 500)


def _attention(trained: Trained, measures: Measures) -> Result | None:
    speaker = load_encoder(trained.model)
    if not speaker.speaks:
        return None
    return measure_attention(speaker, measures.attention, model=str(trained.model), limit=measures.limit or 200)


def _retrieval(trained: Trained, measures: Measures) -> Result | None:
    if not issubclass(task_class(trained.run), (SiglipTask, ClipTask)):
        return None
    return measure_retrieval(trained.model, measures.retrieval, limit=measures.limit or 1000)


def _perplexity(trained: Trained, measures: Measures) -> Result | None:
    if not (trained.model / "config.json").is_file():  # a model with registers is no folder that an MLLM reads
        return None
    language_model, train, test = measures.perplexity
    config = PerplexityConfig(steps=measures.perplexity_steps, stages=("PPL1",), limit=measures.limit or 500)
    asked = hashlib.sha256(repr((measures.perplexity, config)).encode()).hexdigest()[:10]
    out, encoders = Path(trained.run.out) / f"perplexity-{asked}", [str(trained.model)]
    return measure_perplexity(encoders, test, config, language_model=language_model, train=train, out=out)[0]


_HEADS = ("classes", "epochs", "limit")
_MEASURES = {
    "attentive-probe": _Measure(("probe", *_HEADS), partial(_probe, "attentive"), {"top-1": "attentive probe"}),
    "linear-probe": _Measure(("probe", *_HEADS), partial(_probe, "mean"), {"top-1": "linear probe"}),
    "segmentation": _Measure(("segmentation", *_HEADS), _segmentation, {"mIoU": "segmentation mIoU"}),
    "captioning": _Measure(
        ("captioning", "limit"), _captioning,
        {"CIDEr-D": "CIDEr-D", "exact match": "exact captions", "numbers": "numbers read"},
    ),
    "attention": _Measure(
        ("attention", "limit"), _attention, {name: name for name in ("patches to first token", "text to first token")}
    ),
    "retrieval": _Measure(
        ("retrieval", "limit"), _retrieval, {f"{way} at 1": way for way in ("image to text", "text to image")}
    ),
    "perplexity": _Measure(("perplexity", "perplexity_steps", "limit"), _perplexity, {"PPL1": "PPL1"}),
}  # fmt: skip
