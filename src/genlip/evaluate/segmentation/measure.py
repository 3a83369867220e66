"""Segmentation: how well a linear layer on frozen features predicts the class of each pixel (the paper's ADE20K probe).

In: an encoder, a segmented set to train on and one to test on. Out: a `Result` with mIoU, pixel accuracy and the IoU of
each class. Features are those of the last layer. One linear layer is applied to each patch, and its logits are resized to
the label map's own size before they are compared with it, in training as in testing.

One layer is trained for each learning rate; the rate is chosen on a part of the training images, never on the test set.

Axes: i images, p patches of some images, D encoder width, H W pixels of a label map, c classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from genlip.data.datasets.base import SegmentedSet
from genlip.data.datasets.segmented_opening import open_segmented
from genlip.data.images import ImageLike, reduced
from genlip.encoder import Encoder
from genlip.evaluate.aggregators import mean_iou, ratio
from genlip.evaluate.frozen.features import FrozenFeatures, frozen_features
from genlip.evaluate.frozen.head_training import HeadConfig, Standard, split_for_validation
from genlip.evaluate.image_batches import spread
from genlip.evaluate.requirements import opened, require_whole_image
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.evaluate.segmentation.class_colours import choose_colours, coloured
from genlip.evaluate.segmentation.linear_head import FeatureMaps, learn
from genlip.evaluate.segmentation.page import some_of
from genlip.evaluate.segmentation.pixel_loss import overlap, predict
from genlip.model.writing import finite_or_none
from genlip.report.html import thumbnail

__all__ = ["SegmentationConfig", "measure_segmentation"]

log = logging.getLogger(__name__)

_SHOWN, _SIDE = 8, 512  # test images on the page, and pixels of their longer side


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(HeadConfig):
    """How the linear layers are trained: the fields of `HeadConfig`, with defaults for sets with label maps."""

    epochs: int = 10
    batch_size: int = 16
    learning_rates: Sequence[float] = (1e-3, 1e-2, 1e-1)


def measure_segmentation(
    encoder: Encoder,
    data: SegmentedSet | str | Path,
    config: SegmentationConfig = SegmentationConfig(),
    *,
    train: SegmentedSet | str | Path,
    model: str = "",
    limit: int | None = None,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Train a linear layer on frozen features of one set, and test it on another.

    data     the test set; a text or path is opened by `genlip.open_segmented`
    train    the set that is learned from, of the same form
    model    the model's name, as results record it
    limit    at most so many of each set, chosen as `image_batches.spread` does; None takes all
    cache    folder for the features; None holds them in memory
    advance  is called with the number of newly encoded images, of both sets, then of images trained on, once per epoch

    Raises ValueError where a set is empty or has no image that can be used, the classes of the sets differ, a label is not a
    class, or no pixel of the training, validation or test images has a class.
    """
    train, test = opened(train, open_segmented), opened(data, open_segmented)
    started = time.perf_counter()
    require_whole_image(encoder, "segmentation")
    _check(train, test, limit)
    of_train, of_test = (
        frozen_features(
            encoder, data, indices=None if limit is None else spread(len(data), limit), folder=cache, advance=advance
        )
        for data in (train, test)
    )
    fitted = _fit(train, of_train, config, encoder.device, advance)
    maps = FeatureMaps(test, of_test, fitted.standard, encoder.device)
    tested = _test(fitted.layer, maps, config.batch_size, encoder.max_pixels)
    return Result(
        measurement="segmentation",
        model=model,
        data=test.name,
        settings=settings_of(
            encoder, train=train.name, epochs=config.epochs, batch=config.batch_size,
            learning_rates=list(config.learning_rates), seed=config.seed, validation=config.validation, images=limit,
        ),
        scores=_scores(tested.evidence),
        keys=list(of_test.keys),
        figures={
            "classes": _classes(test.classes, tested.evidence, fitted.pixels),
            "sweep": [
                {"learning_rate": rate, "mIoU": finite_or_none(value)}
                for rate, value in zip(config.learning_rates, fitted.sweep, strict=True)
            ],
            "chosen": fitted.chosen,
            "images": {"learned from": fitted.learned, "held out": fitted.held_out, "tested on": len(of_test)},
            "colours": tested.colours,
        },
        pictures=tested.pictures,
        about=measured_on(encoder, time.perf_counter() - started),
    )  # fmt: skip


def _check(train: SegmentedSet, test: SegmentedSet, limit: int | None) -> None:
    for data in (train, test):
        if not len(data):
            raise ValueError(f"{data.name}: 0 images: segmentation needs at least 1 to test on, and 2 to train on")
    if tuple(train.classes) != tuple(test.classes):
        raise ValueError(
            f"{train.name} has the classes {some_of(train.classes)}, {test.name} has {some_of(test.classes)}: a layer that "
            "learned the first can only be tested on the same ones, in the same order"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: it must be at least 1, or None for all")


# -- training


class _Fitted(NamedTuple):
    """The layer of the chosen rate, and how it was trained.

    Attributes:
        layer: the layer.
        standard: of the images that were trained on.
        sweep: mIoU of each rate on the validation images; NaN where there are none.
        chosen: number of the chosen rate.
        pixels: Int64[c], training pixels of each class.
        learned, held_out: numbers of images.
    """

    layer: nn.Linear
    standard: Standard
    sweep: list[float]
    chosen: int
    pixels: np.ndarray
    learned: int
    held_out: int


def _fit(
    train: SegmentedSet,
    features: FrozenFeatures,
    config: SegmentationConfig,
    device: torch.device,
    advance: Callable[[int], None],
) -> _Fitted:
    """Train a layer for each rate and choose one on the validation images."""
    split = split_for_validation(len(features), config.validation, config.seed)
    learned, held = (sorted(some.tolist()) for some in split)
    standard = Standard.of(features[i] for i in learned)
    maps = FeatureMaps(train, features, standard, device)
    layers, pixels = learn(maps, learned, config.learning_rates, config.epochs, config.batch_size, config.seed, advance)
    if not pixels.any():
        raise ValueError(f"{train.name}: no pixel of {len(learned)} images has a class: there is nothing to learn")
    sweep = [mean_iou(_overlaps(layer, maps, held, config.batch_size)) for layer in layers] if held else [float("nan")]
    if held and np.isnan(sweep).all():
        raise ValueError(
            f"{train.name}: no pixel of the {len(held)} held-out images has a class, so no rate can be chosen: give more "
            "images, another seed, or one learning rate and validation 0"
        )
    chosen = int(np.argmax(sweep))
    return _Fitted(layers[chosen], standard, sweep, chosen, pixels, len(learned), len(held))


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
        (overlap(predicted, true, classes) for predicted, true in _predictions(layer, maps, some, batch_size)),
        np.zeros(2 * classes),
    )


def _test(layer: nn.Linear, maps: FeatureMaps, batch_size: int, max_pixels: int) -> _Tested:
    """Predict all images of a set, keep the evidence of each, and draw the first few."""
    classes, rows, shown = maps.data.classes, list[np.ndarray](), list[tuple[np.ndarray, np.ndarray]]()
    for predicted, true in _predictions(layer, maps, range(len(maps.features)), batch_size):
        rows.append(overlap(predicted, true, len(classes)))
        if len(shown) < _SHOWN:
            shown.append((true.cpu().numpy(), predicted.cpu().numpy()))
    if not np.any(rows):
        raise ValueError(f"{maps.data.name}: no pixel of {len(rows)} images has a class: there is nothing to test on")
    colours = choose_colours(len(classes), [true for true, _ in shown])
    indices = maps.features.indices[: len(shown)].tolist()
    images = [thumbnail(maps.data[index].image, _SIDE, max_pixels) for index in indices]
    return _Tested(np.stack(rows), _pictures(images, shown, colours), {classes[label]: c for label, c in colours.items()})


def _pictures(
    images: Sequence[Image.Image], shown: Sequence[tuple[np.ndarray, np.ndarray]], colours: Mapping[int, str]
) -> dict[str, ImageLike]:
    """Three pictures of each image: itself, its true classes and the predicted ones."""
    found: dict[str, ImageLike] = {}
    for place, (image, (true, predicted)) in enumerate(zip(images, shown, strict=True)):
        found[f"{place}-image.png"] = image
        found[f"{place}-truth.png"] = reduced(coloured(true, colours), _SIDE, Image.Resampling.NEAREST)
        found[f"{place}-predicted.png"] = reduced(coloured(predicted, colours), _SIDE, Image.Resampling.NEAREST)
    return found


# -- figures


def _scores(evidence: np.ndarray) -> dict[str, Scores]:
    right = evidence[:, : evidence.shape[1] // 2].sum(axis=1)
    counted = evidence.sum(axis=1) / 2  # each pixel is of one class in truth and of one by prediction
    return {"mIoU": Scores(evidence, mean_iou), "pixel accuracy": Scores(np.stack([right, counted], axis=1), ratio)}


def _classes(names: Sequence[str], evidence: np.ndarray, learned: np.ndarray) -> list[dict[str, Any]]:
    """Of each class its IoU, None where it is neither true nor predicted anywhere, and its number of training pixels."""
    missing = [name for name, pixels in zip(names, learned, strict=True) if not pixels]
    if missing:
        log.warning("no training pixel has these classes: %s; where the test set has them, their IoU is 0", some_of(missing))
    both, either = evidence.sum(axis=0).reshape(2, -1).tolist()
    return [
        {"class": name, "iou": agreed / occurs if occurs else None, "learned_from": int(pixels)}
        for name, agreed, occurs, pixels in zip(names, both, either, learned, strict=True)
    ]
