"""Probe: how well a small head on frozen features classifies images (PAPER: what is measured, 11).

In: an encoder and two sets of images with classes. Out: the share of test images that the head classifies correctly, with
the sweep of learning rates that led to it. The encoder is not trained, so the score measures its frozen features. The rate
is chosen on a part of the training images, never on the test images.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from genlip.data.datasets.base import LabelledSet
from genlip.data.datasets.opening import open_labelled
from genlip.data.examples import Unusable
from genlip.data.images import decode, reduced
from genlip.encoder import Encoder
from genlip.evaluate.frozen.features import FrozenFeatures, frozen_features
from genlip.evaluate.image_batches import spread
from genlip.evaluate.probe.probe_data import ProbeInputs
from genlip.evaluate.probe.sweep import ProbeConfig, Sweep, logits, sweep
from genlip.evaluate.requirements import opened
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.model.writing import finite_or_none

__all__ = ["ProbeConfig", "measure_probe"]

log = logging.getLogger(__name__)

_MOST_CONFUSED = 50  # classes of a matrix that is kept
_SHOWN, _SIDE = 12, 400  # mistakes on the page, and pixels of their longer side


def measure_probe(
    encoder: Encoder,
    data: LabelledSet | str | Path,
    config: ProbeConfig = ProbeConfig(),  # noqa: B008
    *,
    train: LabelledSet | str | Path,
    model: str = "",
    limit: int | None = None,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Train a head on the features of one set, measure it on another with the same classes.

    data     the test set; a text or path is opened by `genlip.open_labelled`
    train    the set that is learned from, of the same form
    model    the model's name, as results record it
    limit    at most this many of each set, chosen as `image_batches.spread` does, whatever the seed; None takes all
    cache    a folder that keeps the features for other probes; None holds them in memory
    advance  is called with the number of newly encoded images, of both sets, then of images trained on, once per epoch

    Scores: "top-1" and, of more than 5 classes, "top-5", both in [0, 1]. Raises ValueError where the classes differ, a set
    is empty, images are too few to hold some out, or training diverges at every rate.
    """
    started = time.perf_counter()
    train, test = opened(train, open_labelled), opened(data, open_labelled)
    _require_same_classes(train, test)
    learn_from, learn_labels = _labelled(encoder, train, limit, cache, advance)
    _warn_of_untaught(train, learn_labels)
    tested, true = _labelled(encoder, test, limit, cache, advance)
    inputs = ProbeInputs(learn_from, learn_labels, config.pooling, encoder.device)
    found, inputs = sweep(inputs, len(train.classes), encoder.heads, config, advance)
    predicted = logits(found.head, inputs.of(tested, true), np.arange(len(tested)), config.batch_size)
    chosen = predicted.argmax(dim=1)
    shown, pictures = _mistakes(test, tested, (chosen != true).nonzero().flatten().tolist())
    return Result(
        measurement="probe",
        model=model,
        data=test.name,
        settings=settings_of(
            encoder, train=train.name, pooling=config.pooling, epochs=config.epochs, batch=config.batch_size,
            learning_rates=list(config.learning_rates), weight_decay=config.weight_decay, validation=config.validation,
            images=limit, seed=config.seed,
        ),
        scores={f"top-{k}": Scores.mean(_hits(predicted, true, k)) for k in (1, 5) if k == 1 or len(test.classes) > k},
        keys=tested.keys,
        figures=_figures(found, test.classes, true, chosen, learn_labels) | {"shown": shown},
        outputs=[{"true": t, "chosen": c} for t, c in zip(true.tolist(), chosen.tolist(), strict=True)],
        pictures=pictures,
        about=measured_on(encoder, time.perf_counter() - started),
    )  # fmt: skip


def _require_same_classes(train: LabelledSet, test: LabelledSet) -> None:
    for data in (train, test):
        if len(data.classes) < 2:
            raise ValueError(f"{data.name}: {len(data.classes)} classes: a probe needs at least 2 to tell apart")
    if train.classes != test.classes:
        only = [sorted(set(a.classes) - set(b.classes))[:3] for a, b in ((train, test), (test, train))]
        raise ValueError(
            f"{train.name} has {len(train.classes)} classes and {test.name} {len(test.classes)}, or others in another order "
            f"(only in the first: {only[0]}, only in the second: {only[1]}): give two parts of one set"
        )
    if train.name == test.name and len(train) == len(test):
        log.warning("%s: training and test images are the same: the score measures memorised training images", test.name)


def _labelled(
    encoder: Encoder,
    data: LabelledSet,
    limit: int | None,
    cache: Path | None,
    advance: Callable[[int], None],
) -> tuple[FrozenFeatures, Tensor]:
    """Features of a set or of a part of it, and Int64[i], their classes."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: it must be at least 1, or None for all")
    indices = None if limit is None else spread(len(data), limit)
    features = frozen_features(encoder, data, indices=indices, folder=cache, advance=advance)
    labels = []
    for key, index in zip(features.keys, features.indices.tolist(), strict=True):
        one = data[index]
        if one.key != key:
            raise ValueError(
                f"{data.name}: image {index} is {one.key!r}, and the features kept in {cache} are of {key!r}: "
                "the set has changed; remove that folder"
            )
        if not 0 <= one.label < len(data.classes):
            raise ValueError(f"{data.name}: {one.key!r} has class {one.label}, and there are {len(data.classes)} classes")
        labels.append(one.label)
    return features, torch.tensor(labels)


def _warn_of_untaught(train: LabelledSet, labels: Tensor) -> None:
    counts = torch.bincount(labels, minlength=len(train.classes)).tolist()
    untaught = [name for name, count in zip(train.classes, counts, strict=True) if not count]
    if untaught:
        log.warning(
            "%s: %d of %d classes have no training image, so no head can learn them: %s",
            train.name, len(untaught), len(counts), ", ".join(untaught[:10]) + (" ..." if len(untaught) > 10 else ""),
        )  # fmt: skip


def _hits(predicted: Tensor, true: Tensor, k: int) -> list[float]:
    """1 for each image whose class is among the k likeliest, else 0."""
    return (predicted.topk(k, dim=1).indices == true[:, None]).any(dim=1).double().tolist()


def _figures(found: Sweep, classes: Sequence[str], true: Tensor, chosen: Tensor, taught: Tensor) -> dict[str, Any]:
    """The sweep, how often each class was right, and which class was taken for which."""
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(matrix, (true.numpy(), chosen.numpy()), 1)
    training = torch.bincount(taught, minlength=len(classes)).tolist()
    return {
        "classes": list(classes),
        "sweep": [
            {
                "learning_rate": rate.learning_rate,
                "losses": [finite_or_none(loss) for loss in rate.losses],
                "accuracy": rate.accuracy,
                "loss": finite_or_none(rate.loss),
                "chosen": place == found.best,
            }
            for place, rate in enumerate(found.rates)
        ],
        "learned": found.learned,
        "held_out": found.held_out,
        "per_class": [
            {"training": training[c], "test": int(row.sum()), "accuracy": float(row[c] / row.sum()) if row.any() else None}
            for c, row in enumerate(matrix)
        ],
        "confusion": matrix.tolist() if len(classes) <= _MOST_CONFUSED else None,
    }


def _mistakes(
    test: LabelledSet, features: FrozenFeatures, wrong: Sequence[int]
) -> tuple[dict[str, int], Mapping[str, Image.Image]]:
    """Up to 12 of the images that were classified wrongly, evenly from all of them: places by file name, and pictures."""
    shown: dict[str, int] = {}
    pictures: dict[str, Image.Image] = {}
    for place in wrong[:: max(1, math.ceil(len(wrong) / _SHOWN))]:
        with suppress(Unusable):  # features may be older than the files that they were computed from
            picture = decode(test[int(features.indices[place])].image)
            name = f"mistake-{len(shown)}.png"
            pictures[name] = reduced(picture, _SIDE)
            shown[name] = place
    return shown, pictures
