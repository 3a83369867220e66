"""Segmentation: how well a linear layer on frozen features tells the class of each pixel (the paper's ADE20K probe).

In: a speaker, a segmented set to learn from and one to test on. Out: a `Result` with mIoU, pixel accuracy and the IoU of
each class. Features are those of the last layer; each patch's go through one linear layer, and what that says is resized to
the label map's own size before it is compared with it, in training as in testing.

One layer is trained for each learning rate; the rate is chosen on training images that were held out, never on the test set.

Axes: i images, p patches of some images, D trunk width, H W pixels of a label map, c classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from genlip.data.datasets.base import SegmentedSet
from genlip.data.images import ImageLike, reduced
from genlip.evaluate.aggregators import mean_iou, ratio
from genlip.evaluate.frozen.features import frozen_features
from genlip.evaluate.frozen.head_training import Standard, check_rates, hold_out
from genlip.evaluate.image_batches import spread
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.evaluate.segmentation.class_colours import choose_colours, coloured
from genlip.evaluate.segmentation.linear_head import FeatureMaps, learn
from genlip.evaluate.segmentation.page import section, some_of
from genlip.evaluate.segmentation.pixel_loss import overlap, predict
from genlip.model.writing import finite_or_none
from genlip.report.html import thumbnail
from genlip.speaker import Speaker

__all__ = ["section", "segmentation"]

log = logging.getLogger(__name__)

_SHOWN, _SIDE = 8, 512  # test images on the page, and pixels of their longer side


def segmentation(
    speaker: Speaker,
    train: SegmentedSet,
    test: SegmentedSet,
    *,
    model: str = "",
    epochs: int = 10,
    batch_size: int = 16,
    learning_rates: Sequence[float] = (1e-3, 1e-2, 1e-1),
    seed: int = 0,
    cache: Path | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Train a linear layer on frozen features of one set, and test it on another.

    model           what the user called it
    epochs          times that each training image is learned from
    batch_size      images of one step, whatever their sizes
    learning_rates  peaks to try: AdamW, a short linear warm-up, then a cosine to 0
    seed            of what is held out, and of the order of images
    cache           folder for the features; None holds them in memory
    validation      share of the training images that is held out to choose the rate; 0 holds none out, for a single rate
    limit           at most so many of each set, chosen as `looking.spread` does; None takes all
    advance         hears of encoded images, of both sets, then of images learned, each once per epoch

    Raises ValueError where a set is empty or has no image that can be used, the sets have other classes, a label is none, or
    no pixel has one of the images that are learned from, held out or tested on.
    """
    started = time.perf_counter()
    _check(train, test, epochs, batch_size, learning_rates, validation, limit)
    of_train, of_test = (
        frozen_features(
            speaker, data, indices=None if limit is None else spread(len(data), limit), folder=cache, advance=advance
        )
        for data in (train, test)
    )
    fitted, held = (sorted(some.tolist()) for some in hold_out(len(of_train), validation, seed))
    standard = Standard.of(of_train[i] for i in fitted)
    known = FeatureMaps(train, of_train, standard, speaker.model.device)
    layers, pixels = learn(known, fitted, learning_rates, epochs, batch_size, seed, advance)
    if not pixels.any():
        raise ValueError(f"{train.name}: no pixel of {len(fitted)} images has a class: there is nothing to learn")
    sweep = [mean_iou(_overlaps(layer, known, held, batch_size)) for layer in layers] if held else [float("nan")]
    if held and np.isnan(sweep).all():
        raise ValueError(
            f"{train.name}: no pixel of the {len(held)} held-out images has a class, so no rate can be chosen: give more "
            "images, another seed, or one learning rate and validation 0"
        )
    chosen = int(np.argmax(sweep))
    tested = _test(
        layers[chosen], FeatureMaps(test, of_test, standard, speaker.model.device), batch_size, speaker.images.max_pixels
    )
    return Result(
        measurement="segmentation",
        model=model,
        data=test.name,
        settings=settings_of(
            speaker,
            train=train.name,
            epochs=epochs,
            batch=batch_size,
            learning_rates=list(learning_rates),
            seed=seed,
            validation=validation,
            images=limit,
        ),
        scores=_scores(tested.evidence),
        keys=list(of_test.keys),
        figures={
            "classes": _classes(test.classes, tested.evidence, pixels),
            "sweep": _sweep(learning_rates, sweep),
            "chosen": chosen,
            "images": {"learned from": len(fitted), "held out": len(held), "tested on": len(of_test)},
            "colours": tested.colours,
        },
        pictures=tested.pictures,
        about=measured_on(speaker, time.perf_counter() - started),
    )


# -- what is asked for


def _check(
    train: SegmentedSet,
    test: SegmentedSet,
    epochs: int,
    batch_size: int,
    learning_rates: Sequence[float],
    validation: float,
    limit: int | None,
) -> None:
    for data in (train, test):
        if not len(data):
            raise ValueError(f"{data.name}: 0 images: segmentation needs at least 1 to test on, and 2 to learn from")
    if tuple(train.classes) != tuple(test.classes):
        raise ValueError(
            f"{train.name} has the classes {some_of(train.classes)}, {test.name} has {some_of(test.classes)}: a layer that "
            "learned the first can only be tested on the same ones, in the same order"
        )
    if epochs < 1 or batch_size < 1 or (limit is not None and limit < 1):
        raise ValueError(f"epochs {epochs}, batch_size {batch_size} and limit {limit} must be at least 1")
    check_rates(learning_rates, validation)


# -- testing


class _Tested(NamedTuple):
    """Float[i 2c] evidence, pictures by file name, and the colours of classes by name."""

    evidence: np.ndarray
    pictures: dict[str, ImageLike]
    colours: dict[str, str]


@torch.inference_mode()
def _predictions(
    layer: nn.Linear, maps: FeatureMaps, some: Sequence[int], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Int64[H W], the predicted class of each pixel of these images in order, and its true one."""
    for start in range(0, len(some), batch_size):
        seen = maps.read(some[start : start + batch_size])
        sizes = [(len(one), one.shape[1]) for one in seen.labels]
        yield from zip(predict(layer(seen.features), seen.grids, sizes), seen.labels, strict=True)


def _overlaps(layer: nn.Linear, maps: FeatureMaps, some: Sequence[int], batch_size: int) -> np.ndarray:
    """Float[2c], the overlaps of all these images, summed."""
    classes = len(maps.data.classes)
    return sum(
        (overlap(said, true, classes) for said, true in _predictions(layer, maps, some, batch_size)),
        np.zeros(2 * classes),
    )


def _test(layer: nn.Linear, maps: FeatureMaps, batch_size: int, max_pixels: int) -> _Tested:
    """Predict all images of a set, keep what each adds to the score, and draw the first few."""
    classes, rows, shown = maps.data.classes, list[np.ndarray](), list[tuple[np.ndarray, np.ndarray]]()
    for said, true in _predictions(layer, maps, range(len(maps.features)), batch_size):
        rows.append(overlap(said, true, len(classes)))
        if len(shown) < _SHOWN:
            shown.append((true.cpu().numpy(), said.cpu().numpy()))
    if not np.any(rows):
        raise ValueError(f"{maps.data.name}: no pixel of {len(rows)} images has a class: there is nothing to test on")
    colours = choose_colours(len(classes), [true for true, _ in shown])
    indices = maps.features.indices[: len(shown)].tolist()
    images = [thumbnail(maps.data[index].image, _SIDE, max_pixels) for index in indices]
    return _Tested(np.stack(rows), _pictures(images, shown, colours), {classes[label]: c for label, c in colours.items()})


def _pictures(
    images: Sequence[Image.Image], shown: Sequence[tuple[np.ndarray, np.ndarray]], colours: Mapping[int, str]
) -> dict[str, ImageLike]:
    """Of each image three: itself, its true classes and the predicted ones."""
    found: dict[str, ImageLike] = {}
    for place, (image, (true, said)) in enumerate(zip(images, shown, strict=True)):
        found[f"{place}-image.png"] = image
        found[f"{place}-truth.png"] = reduced(coloured(true, colours), _SIDE, Image.Resampling.NEAREST)
        found[f"{place}-predicted.png"] = reduced(coloured(said, colours), _SIDE, Image.Resampling.NEAREST)
    return found


# -- figures


def _scores(evidence: np.ndarray) -> dict[str, Scores]:
    right = evidence[:, : evidence.shape[1] // 2].sum(axis=1)
    counted = evidence.sum(axis=1) / 2  # each pixel is of one class in truth and of one by prediction
    return {"mIoU": Scores(evidence, mean_iou), "pixel accuracy": Scores(np.stack([right, counted], axis=1), ratio)}


def _classes(names: Sequence[str], evidence: np.ndarray, learned: np.ndarray) -> list[dict[str, Any]]:
    """Of each class its IoU, None where it occurs neither in truth nor by prediction, and pixels it was learned from."""
    missing = [name for name, pixels in zip(names, learned, strict=True) if not pixels]
    if missing:
        log.warning("no pixel to learn from: %s; where the test set has these classes, their IoU is 0", some_of(missing))
    both, either = evidence.sum(axis=0).reshape(2, -1).tolist()
    return [
        {"class": name, "iou": agreed / occurs if occurs else None, "learned_from": int(pixels)}
        for name, agreed, occurs, pixels in zip(names, both, either, learned, strict=True)
    ]


def _sweep(rates: Sequence[float], found: Sequence[float]) -> list[dict[str, float | None]]:
    return [{"learning_rate": rate, "mIoU": finite_or_none(value)} for rate, value in zip(rates, found, strict=True)]
