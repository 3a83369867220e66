"""Pixel loss: from logits of classes at patches to classes of pixels, in training and in counting.

In: logits of a batch of images at their patches, and label maps. Out: the loss with its gradient, predictions at the size of
the label maps, and for each class the overlap of prediction and truth.
A batch may hold any grids and sizes, and its logits at pixels may be gigabytes (150 classes at 512x512 pixels are 157 MB an
image). So a few images of equal shape are computed at a time, and the gradient is accumulated at the patches.

Axes: i images of a batch, p patches of them all, h w rows and columns of patches, H W pixels, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.data.datasets.base import IGNORED

__all__ = ["at_pixels", "backward", "overlap", "predict"]

_HELD = 2**24  # logits at pixels that are held at once

Size = tuple[int, int]


def at_pixels(logits: Tensor, size: Size) -> Tensor:
    """Float[i c h w] logits at patches -> Float[i c H W] at pixels, bilinear between the centres of patches."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def backward(logits: Tensor, grids: Sequence[Size], labels: Sequence[Tensor]) -> float:
    """Mean cross-entropy in nats over the pixels of a batch that have a class; its gradient goes back through `logits`.

    logits   Float[p c], patches of all images in order, row-major
    grids    (rows, columns) of patches of each image
    labels   Int64[H W] of each image, `IGNORED` where a pixel has no class

    The mean is over all pixels alike: a large label map weighs more than a small one. 0 where no pixel has a class.
    """
    gathered = logits.detach().requires_grad_()
    counted = max(1, sum(int((one != IGNORED).sum()) for one in labels))
    total = 0.0
    for alike in _alike(grids, [_size(one) for one in labels], logits.shape[1]):
        pixels = at_pixels(_maps(gathered, grids, alike), _size(labels[alike[0]]))
        truth = torch.stack([labels[i] for i in alike])
        loss = F.cross_entropy(pixels, truth, ignore_index=IGNORED, reduction="sum") / counted
        loss.backward()
        total += float(loss.detach())
    logits.backward(gathered.grad)
    return total


def predict(logits: Tensor, grids: Sequence[Size], sizes: Sequence[Size]) -> list[Tensor]:
    """The likeliest class at each pixel, Int64[H W] for each image, of `logits` and `grids` as `backward` takes them."""
    found: dict[int, Tensor] = {}
    for alike in _alike(grids, sizes, logits.shape[1]):
        chosen = at_pixels(_maps(logits, grids, alike), sizes[alike[0]]).argmax(dim=1)
        found.update(zip(alike, chosen, strict=True))
    return [found[i] for i in range(len(grids))]


def overlap(predicted: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """Float64[2c]: pixels of each class where both agree, then those that have it in either; what `mean_iou` takes.

    predicted, labels   Int64[H W]; pixels that the labels ignore are not counted, whatever is predicted there
    """
    counted = labels != IGNORED
    true, said = labels[counted], predicted[counted]
    both, right, chosen = (torch.bincount(some, minlength=classes) for some in (true[true == said], true, said))
    return torch.cat([both, right + chosen - both]).cpu().double().numpy()


def _alike(grids: Sequence[Size], sizes: Sequence[Size], classes: int) -> list[list[int]]:
    """Places of images of one grid and one size, as many together as `_HELD` allows, at least one."""

    def shape(i: int) -> tuple[Size, Size]:
        return grids[i], sizes[i]

    found: list[list[int]] = []
    for (_, (height, width)), some in groupby(sorted(range(len(grids)), key=shape), key=shape):
        places, most = list(some), max(1, _HELD // (classes * height * width))
        found += [places[start : start + most] for start in range(0, len(places), most)]
    return found


def _maps(logits: Tensor, grids: Sequence[Size], places: Sequence[int]) -> Tensor:
    """Float[p c] -> Float[i c h w], of the images at these places, whose grids are equal."""
    parts = logits.split([rows * columns for rows, columns in grids])
    return torch.stack([parts[i].T.unflatten(1, grids[i]) for i in places])


def _size(labels: Tensor) -> Size:
    height, width = labels.shape
    return height, width
