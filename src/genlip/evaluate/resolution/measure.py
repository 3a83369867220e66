"""Resolution: any measurement, repeated at several image sizes.

In: a measurement as a function of an encoder, and sizes. Out: a `Result` with the scores of every size, all of the same
images, so that sizes can be compared in pairs. The model is not trained again for any size.

Curves are drawn over the number of patches, which fixed sizes and native budgets have in common; of a native budget it is
the most that an image may have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from genlip.encoder import Encoder
from genlip.evaluate.result import Result, measured_on
from genlip.model.writing import finite_or_none

__all__ = ["measure_resolution"]


class _Point(NamedTuple):
    """One size: its name, how many patches it has at most, and the encoder that reads images of it."""

    name: str
    patches: int
    encoder: Encoder


def measure_resolution(
    measure: Callable[[Encoder], Result],
    encoder: Encoder,
    *,
    sizes: Sequence[int] = (),
    max_patches: Sequence[int] = (),
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Measure at each size.

    measure      one measurement, such as `lambda encoder: measure_probe(encoder, test, train=train)`
    sizes        sides of fixed images in pixels, multiples of the model's patch size
    max_patches  budgets of native images, which keep their shape
    advance      is called with 1 after each size

    Scores are named after their size, as in "top-1 at 64x64" and "top-1 at up to 256 patches"; figures hold each with its
    interval. Other figures and outputs of the single measurements are not kept. Raises ValueError where no size is given,
    one is given twice or does not suit the model, or sizes measured different images; and as `measure` does.
    """
    started = time.perf_counter()
    points = _points(encoder, sizes, max_patches)
    found: list[Result] = []
    for point in points:
        found.append(measure(point.encoder))
        _require_same(found[0], found[-1], point.name)
        advance(1)
    return Result(
        measurement="resolution",
        model=found[0].model,
        data=found[0].data,
        settings=_settings(found, encoder, sizes, max_patches),
        scores={
            f"{name} at {p.name}": one.scores[name] for p, one in zip(points, found, strict=True) for name in one.scores
        },
        keys=list(found[0].keys),
        figures={
            "scores": list(found[0].scores),
            "points": [_figures(point, one) for point, one in zip(points, found, strict=True)],
        },
        about=measured_on(encoder, time.perf_counter() - started),
    )


def _points(encoder: Encoder, sizes: Sequence[int], max_patches: Sequence[int]) -> list[_Point]:
    if not sizes and not max_patches:
        raise ValueError("no size to measure at: give sizes (pixels of fixed images), max_patches (of native ones) or both")
    side = encoder.patch_size
    for name, given in (("sizes", sizes), ("max_patches", max_patches)):
        if len(set(given)) < len(given) or min(given, default=1) < 1:
            raise ValueError(f"{name} are {list(given)}: need each once, and at least 1")
    for size in sizes:
        if size % side:
            raise ValueError(f"size {size} is no multiple of the model's patch_size {side}; near it are {_near(size, side)}")
    fixed = [_Point(f"{size}x{size}", (size // side) ** 2, encoder.resized(size=size)) for size in sizes]
    native = [_Point(f"up to {most} patches", most, encoder.resized(max_patches=most)) for most in max_patches]
    return fixed + native


def _near(size: int, side: int) -> str:
    below = size // side * side
    return " and ".join(str(one) for one in (below, below + side) if one)


def _require_same(first: Result, other: Result, name: str) -> None:
    """Raise ValueError unless both measured the same on the same images."""
    if (first.measurement, first.data, list(first.scores)) != (other.measurement, other.data, list(other.scores)):
        raise ValueError(
            f"at {name} {other.measurement} on {other.data} gave {', '.join(other.scores)}, before it {first.measurement} "
            f"on {first.data} gave {', '.join(first.scores)}: measure the same at each size"
        )
    if list(first.keys) != list(other.keys):
        raise ValueError(
            f"at {name} {len(other.keys)} images were measured, and at the first size {len(first.keys)} or others: scores "
            "over sizes need the same images in the same order"
        )


def _settings(found: Sequence[Result], encoder: Encoder, sizes: Sequence[int], max_patches: Sequence[int]) -> dict[str, Any]:
    """What is measured at which sizes, and the settings that the single measurements share."""
    first, *others = (dict(one.settings) for one in found)
    seen = ("resize", "size", "patches")
    shared = {k: v for k, v in first.items() if k not in seen and all(other.get(k) == v for other in others)}
    own = {"measurement": found[0].measurement, "sizes": list(sizes), "max_patches": list(max_patches)}
    least = {"min_patches": encoder.min_patches} if max_patches else {}
    return {**own, **least, "of_measurement": shared}


def _figures(point: _Point, one: Result) -> dict[str, Any]:
    scores = {
        name: [finite_or_none(scores.score), *map(finite_or_none, scores.interval())] for name, scores in one.scores.items()
    }
    return {
        "name": point.name,
        "resize": point.encoder.image_settings()["resize"],
        "patches": point.patches,
        "scores": scores,
    }
