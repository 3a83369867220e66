"""Features: pictures of the features of patches, without training anything on them.

In: an encoder and images. Out: a `Result` with three views of the features of all patches together: their main components as
colours, the patches of other images that are most similar to a few distinctive ones, and the norms of the features.

Norms are those of the last block's output, before the last LayerNorm. A transformer without register tokens may store
information about the whole image in a few patches. Their norms are then far larger than the others', often that of the first
patch, to which attention sinks. After a LayerNorm all norms are about equal, and such patches cannot be found by their norm.

Axes: i images, p patches of all images, D width.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from genlip.data.datasets.any_images import open_any
from genlip.data.images import ImageLike
from genlip.encoder import Encoder
from genlip.evaluate.aggregators import ratio
from genlip.evaluate.features.components import as_colours, principal_components
from genlip.evaluate.features.neighbours import nearest_patches, salient_patches
from genlip.evaluate.features.page import shown_patches
from genlip.evaluate.frozen.features import ImageSet
from genlip.evaluate.image_batches import ImageItem, image_batches
from genlip.evaluate.requirements import opened, require_whole_image
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.report.patch_pictures import crop, enlarged, heat, outlined, patch_map

__all__ = ["measure_features", "outliers"]

_SIDE = 480  # pixels of a picture's longer side
_MOST = 200  # images of a page
_FAR = 6  # deviations above the median, from where on a patch is an outlier


class _Seen(NamedTuple):
    """An image and its patches: Float32[rows * columns, D] after the last LayerNorm, and the norms before and after it."""

    key: str
    image: Image.Image
    grid: tuple[int, int]
    features: np.ndarray
    before: np.ndarray
    after: np.ndarray


def measure_features(
    encoder: Encoder,
    data: ImageSet | str | Path,
    *,
    model: str = "",
    limit: int = 24,
    queries: int = 6,
    neighbours: int = 4,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """View the features of the patches of some images of a set.

    model       the model's name, as results record it
    limit       how many images, spread evenly over the set, at most 200; all are shown
    queries     distinctive patches, each of another image, whose nearest patches in other images are shown
    neighbours  how many of these are shown for each
    batch_size  images encoded together
    advance     is called with the number of newly finished images, skipped ones included

    The one score is "outlier patches", the share of patches whose norm before the last LayerNorm is an outlier. Raises
    ValueError for a set without images that can be used, and for negative queries or neighbours.
    """
    data = opened(data, open_any)
    require_whole_image(encoder, "features")
    if min(queries, neighbours) < 0:
        raise ValueError(f"queries {queries} and neighbours {neighbours}: neither may be less than 0")
    if limit > _MOST:
        raise ValueError(f"{limit} images: all are shown, so at most {_MOST} can be viewed at a time; lower limit")
    started, seen = time.perf_counter(), list[_Seen]()
    for some in image_batches(data, limit, batch_size, encoder, advance):
        seen += _see(encoder, some)
    if not seen:
        raise ValueError(f"{data.name}: none of its images can be used; the log names them")
    lengths = np.concatenate([one.before for one in seen])
    far, longest = outliers(lengths)
    colours, explained = _colours(seen)
    found = _neighbours(seen, queries, neighbours)
    own = np.split(far, np.cumsum([len(one.before) for one in seen])[:-1])
    return Result(
        measurement="features",
        model=model,
        data=data.name,
        settings=settings_of(encoder, images=min(limit, len(data)), queries=queries, neighbours=neighbours),
        scores={"outlier patches": Scores(np.array([[some.sum(), len(some)] for some in own], dtype=np.float64), ratio)},
        keys=[one.key for one in seen],
        figures={"explained variance": explained, "limit": longest, "places": _places(seen, own), "neighbours": found},
        outputs=[_output(one, some) for one, some in zip(seen, own, strict=True)],
        pictures=_pictures(seen, colours, own, np.quantile(lengths, [0.01, 0.99])) | _crops(seen, found),
        about=measured_on(encoder, time.perf_counter() - started),
    )


def outliers(lengths: np.ndarray) -> tuple[np.ndarray, float]:
    """Float[p] -> Bool[p] and the limit: more than 6 median absolute deviations above the median of all."""
    median = float(np.median(lengths))
    limit = median + _FAR * float(np.median(np.abs(lengths - median)))
    return lengths > limit, limit


@torch.inference_mode()
def _see(encoder: Encoder, some: Sequence[ImageItem]) -> list[_Seen]:
    if not some:
        return []
    seen = []
    outputs = encoder.encode_layers([one.prepared for one in some], [-1], len(some))
    for one, (before,) in zip(some, outputs, strict=True):
        after = encoder.last_norm(before.patches).float()
        parts = (after, before.patches.float().norm(dim=1), after.norm(dim=1))
        own = (part.cpu().numpy() for part in parts)
        seen.append(_Seen(one.item.key, enlarged(one.picture, _SIDE), before.grid, *own))
    return seen


def _colours(seen: Sequence[_Seen]) -> tuple[list[np.ndarray], list[float]]:
    """UInt8[p 3] of each image, and the shares of variance that the three colours show."""
    found = principal_components(np.concatenate([one.features for one in seen]))
    edges = np.cumsum([len(one.features) for one in seen])[:-1]
    return np.split(as_colours(found.values), edges), found.explained.tolist()


def _neighbours(seen: Sequence[_Seen], queries: int, neighbours: int) -> list[dict[str, Any]]:
    """For each query its patch and the nearest ones, as (number of the image, row, column), with cosines."""
    if len(seen) < 2 or not queries or not neighbours:
        return []
    features = np.concatenate([one.features for one in seen])
    image_of = np.repeat(np.arange(len(seen)), [len(one.features) for one in seen])
    starts = np.searchsorted(image_of, np.arange(len(seen)))

    def place(patch: int) -> list[int]:
        image = int(image_of[patch])
        return [image, *divmod(patch - int(starts[image]), seen[image].grid[1])]

    found = []
    for query in salient_patches(features, image_of, queries).tolist():
        nearest, cosines = nearest_patches(features, image_of, query, neighbours)
        entries = [
            {"patch": place(patch), "cosine": round(cosine, 4)}
            for patch, cosine in zip(nearest.tolist(), cosines.tolist(), strict=True)
        ]
        found.append({"patch": place(query), "nearest": entries})
    return found


def _places(seen: Sequence[_Seen], far: Sequence[np.ndarray]) -> list[list[int]]:
    """[row, column, outliers there, images that have a patch there], the most frequent first."""
    of_grids = zip((one.grid for one in seen), far, strict=True)
    here = Counter(divmod(patch, grid[1]) for grid, some in of_grids for patch in np.flatnonzero(some).tolist())
    return [
        [row, column, times, sum(row < one.grid[0] and column < one.grid[1] for one in seen)]
        for (row, column), times in sorted(here.items(), key=lambda item: (-item[1], item[0]))
    ]


def _output(one: _Seen, far: np.ndarray) -> dict[str, Any]:
    before, after = ([round(length, 4) for length in lengths.tolist()] for lengths in (one.before, one.after))
    return {"grid": list(one.grid), "before": before, "after": after, "outliers": np.flatnonzero(far).tolist()}


def _pictures(
    seen: Sequence[_Seen], colours: Sequence[np.ndarray], far: Sequence[np.ndarray], ends: np.ndarray
) -> dict[str, ImageLike]:
    """Of each image itself, the colours of its patches, and their lengths with the outliers outlined."""
    pictures: dict[str, ImageLike] = {}
    for number, (one, some, own) in enumerate(zip(seen, colours, far, strict=True)):
        size = one.image.size
        lengths = patch_map(heat(one.before, *ends.tolist()), one.grid, size)
        pictures[f"image-{number}.png"] = one.image
        pictures[f"colours-{number}.png"] = patch_map(some, one.grid, size)
        pictures[f"lengths-{number}.png"] = outlined(lengths, np.flatnonzero(own).tolist(), one.grid)
    return pictures


def _crops(seen: Sequence[_Seen], found: Sequence[dict[str, Any]]) -> dict[str, ImageLike]:
    pictures: dict[str, ImageLike] = {}
    for number, one in enumerate(found):
        for place, (image, row, column) in enumerate(shown_patches(one)):
            grid = seen[image].grid
            pictures[f"like-{number}-{place}.png"] = crop(seen[image].image, row * grid[1] + column, grid)
    return pictures
