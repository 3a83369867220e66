"""Zero-shot classification: the class whose caption is the likeliest, given the image.

In: a speaker and images of classes. Out: a `Result` with the share of images whose class is the likeliest, or among the
likeliest five. Nothing is trained. Each class becomes captions, "a photo of a dog" and the end of a caption with it; its
score is the mean log-probability of a token of these captions, given the image.

A caption can be likely by itself, so its score with a grey picture can be subtracted. The grey picture has the grid of the
image and is 0 after normalisation. A score without any patches would not do: in training, every text follows patches, and
its positions depend on their grid.

Axes: s images of a batch, C classes, T templates.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image

from genlip.data.captions import Captions
from genlip.data.datasets.base import Labelled, LabelledSet
from genlip.data.datasets.opening import open_labelled
from genlip.data.datasets.templates import fill
from genlip.data.images import Patches, reduced
from genlip.data.packing import by_shape
from genlip.encoder import Encoder
from genlip.evaluate.image_batches import image_batches
from genlip.evaluate.requirements import opened, require_speaker
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.evaluate.zero_shot.templates import chosen_templates
from genlip.model.likelihood import caption_likelihoods
from genlip.model.pack import Pack, Sample
from genlip.speaker import Speaker

__all__ = ["ZeroShotConfig", "class_captions", "measure_zero_shot"]

_BEST = 5  # classes that are kept for each image
_MATRIX = 50  # most classes of a stored confusion matrix
_SHOWN = {"wrong": 12, "right": 6}  # pictures that the page shows
_SIDE = 224  # pixels of a stored picture


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """How classes become captions, and captions become scores.

    Attributes:
        templates: captions with {} for the name of a class or {a} for it with its article, or names of sets of them.
        without_picture: subtract from each score that of the same captions with a grey picture.
        normalise: "mean" over a caption's tokens, its end included; "sum" favours short names.
        top: a class counts as found if it is among so many of the likeliest. 1 is always measured; numbers that cover all
            classes are left out.
        batch_size: images read together.
    """

    templates: Sequence[str] = ("a photo of {a}",)
    without_picture: bool = False
    normalise: Literal["mean", "sum"] = "mean"
    top: Sequence[int] = (1, 5)
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.normalise not in ("mean", "sum") or any(k < 1 for k in self.top):
            raise ValueError(
                f"normalise {self.normalise!r}, top {tuple(self.top)}: need 'mean' or 'sum', and numbers from 1"
            )


def measure_zero_shot(
    encoder: Encoder,
    data: LabelledSet | str | Path,
    config: ZeroShotConfig = ZeroShotConfig(),
    *,
    model: str = "",
    limit: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Classify images by the likelihood of their classes' captions.

    encoder  a `Speaker`
    data     a text or path is opened by `genlip.open_labelled`
    model    the model's name, as results record it
    limit    how many images, spread evenly over the set; None takes all
    advance  is called with the number of newly finished images, skipped ones included

    Raises ValueError for a set without images that can be used, with fewer than two classes, a class whose name has no
    tokens, classes whose captions are the same, and an encoder that does not speak.
    """
    data = opened(data, open_labelled)
    started, speaker, wordings = (
        time.perf_counter(),
        require_speaker(encoder, "zero-shot"),
        chosen_templates(config.templates),
    )
    number = len(data) if limit is None else limit
    classify = _Classifier(speaker, data.classes, wordings, config.normalise, config.without_picture)
    answers = _Answers()
    for some in image_batches(data, number, config.batch_size, speaker, advance):
        for one, scores in zip(some, classify([cast(Patches, one.prepared) for one in some]), strict=True):
            answers.add(cast(Labelled, one.item), one.picture, scores)
    if not answers.keys:
        raise ValueError(f"{data.name}: none of its images can be used; the log names them")
    kept = [k for k in sorted({1, *config.top}) if k < len(data.classes)]
    return Result(
        measurement="zero-shot",
        model=model,
        data=data.name,
        settings=settings_of(
            speaker, images=min(number, len(data)), prompt=speaker.captions.config.prompt, templates=list(wordings),
            normalise=config.normalise, without_picture=config.without_picture, classes=len(data.classes),
            names=hashlib.sha256("\n".join(data.classes).encode()).hexdigest()[:8],
        ),
        scores={f"top-{k}": Scores.mean([rank < k for rank in answers.ranks]) for k in kept},
        keys=answers.keys,
        figures=_figures(data.classes, answers.outputs) | {"shown": answers.shown},
        outputs=answers.outputs,
        pictures=answers.pictures,
        about=measured_on(speaker, time.perf_counter() - started),
    )  # fmt: skip


def class_captions(captions: Captions, classes: Sequence[str], templates: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of T * C captions with their ends, all classes of the first template, then of the next.

    Raises ValueError where classes cannot be told apart.
    """
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} classes ({', '.join(classes)}): choosing needs at least 2; name all classes")
    for name in classes:
        if not captions.ids(name.strip()):
            raise ValueError(f"class {classes.index(name)}, {name!r}, has no tokens: give it a name in words")
    found: list[tuple[int, ...]] = []
    for template in templates:
        texts = [fill(template, name) for name in classes]
        some = [tuple(ids[learned].tolist()) for ids, learned in captions.encode_all(texts)]
        first: dict[tuple[int, ...], int] = {}
        for label, ids in enumerate(some):
            if (other := first.setdefault(ids, label)) != label:
                raise ValueError(
                    f"classes {other}, {classes[other]!r}, and {label}, {classes[label]!r}, have the same caption "
                    f"({texts[label]!r}, at most {captions.config.max_tokens} tokens of it): give them different names"
                )
        found += some
    return found


# -- classifying


class _Classifier:
    """Scores of all classes for images."""

    def __init__(
        self, speaker: Speaker, classes: Sequence[str], templates: Sequence[str], normalise: str, without_picture: bool
    ) -> None:
        self.speaker, self.without_picture = speaker, without_picture
        self.captions = class_captions(speaker.captions, classes, templates)
        self.shape = (len(templates), len(classes))
        lengths = [len(caption) if normalise == "mean" else 1 for caption in self.captions]
        self.share = 1 / np.array(lengths, dtype=np.float64)
        self.grey: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, images: Sequence[Patches]) -> np.ndarray:
        """Float64[s C], larger is likelier."""
        samples = [Sample(image.patches, image.grid) for image in images]
        scores = np.empty((len(samples), self.shape[1]))
        if order := by_shape(samples):
            scores[order] = self._scores([samples[i] for i in order])
        if self.without_picture:
            for row, sample in zip(scores, samples, strict=True):
                row -= self._text_alone(sample.grid)
        return scores

    def _scores(self, samples: Sequence[Sample]) -> np.ndarray:
        prompt = self.speaker.captions.prompt_ids
        pack = Pack.of([sample.with_text(prompt, [False] * len(prompt)) for sample in samples])
        likely = caption_likelihoods(self.speaker.model, pack.to(self.speaker.model.device), self.captions)
        per_caption = likely.double().cpu().numpy() * self.share
        return per_caption.reshape(len(samples), *self.shape).mean(axis=1)

    def _text_alone(self, grid: tuple[int, int]) -> np.ndarray:
        """Float64[C], the scores with a grey picture of this grid."""
        if grid not in self.grey:
            patches = torch.zeros(grid[0] * grid[1], self.speaker.model.config.patch_dim)
            self.grey[grid] = self._scores([Sample(patches, grid)])[0]
        return self.grey[grid]


class _Answers:
    """The answer for each image, and the first wrong and the first right pictures.

    Attributes:
        keys, outputs: of the result.
        ranks: of the true class among all, from 0.
        pictures: by file name, and in `shown` the number of the image of each.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.outputs: list[dict[str, Any]] = []
        self.ranks: list[int] = []
        self.shown: dict[str, int] = {}
        self.pictures: dict[str, Image.Image] = {}
        self._room = Counter(_SHOWN)

    def add(self, item: Labelled, image: Image.Image, scores: np.ndarray) -> None:
        """Float[C] scores of the next image; of classes with the same score the first comes first."""
        order = np.argsort(-scores, kind="stable")
        kind = "right" if order[0] == item.label else "wrong"
        if self._room[kind]:
            name = f"{kind}-{_SHOWN[kind] - self._room[kind]}.png"
            self._room[kind] -= 1
            self.shown[name] = len(self.keys)
            self.pictures[name] = reduced(image, _SIDE)
        self.keys.append(item.key)
        self.ranks.append(int(np.flatnonzero(order == item.label)[0]))
        best = [[int(label), round(float(scores[label]), 5)] for label in order[:_BEST]]
        self.outputs.append({"true": item.label, "best": best})


def _figures(classes: Sequence[str], outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each class its images and how many are right; of few classes the matrix of counts, true by chosen."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for one in outputs:
        counts[one["true"], one["best"][0][0]] += 1
    by_class = [
        {"class": name, "images": images, "right": right, "accuracy": right / images if images else None}
        for name, images, right in zip(classes, counts.sum(axis=1).tolist(), counts.diagonal().tolist(), strict=True)
    ]
    return {"classes": by_class, "confusion": counts.tolist() if len(classes) <= _MATRIX else None}
