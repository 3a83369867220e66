"""Schemas: of what types a stored result is, also in the parts that each measurement has for itself.

In: the object of a `result.json`. Out: nothing, or a ValueError that names the field. Pages and comparisons rely on it. No
field but those of `Result` must be there, since results of older versions lack some; those that nothing reads may be any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Required, TypedDict

from genlip.model.fields import checked

__all__ = ["check_stored"]

_Number = float | None
_Triple = tuple[_Number, _Number, _Number]
_Patch = tuple[int, int, int]


class _Scores(TypedDict, total=False):
    formula: Required[str]
    evidence: Required[list[Any]]


class _About(TypedDict, total=False):
    machine: str
    versions: dict[str, str]
    seconds: float
    precision: str
    tokenizer: str


class _Stored(TypedDict, total=False):
    format: int
    measurement: Required[str]
    model: Required[str]
    data: Required[str]
    settings: Required[dict[str, Any]]
    scores: Required[dict[str, _Scores]]
    keys: Required[list[str]]
    figures: dict[str, Any]
    outputs: list[Any]
    pictures: list[str]
    about: _About


class _Nothing(TypedDict, total=False):
    pass


class _Of(NamedTuple):
    """The types of a measurement's own parts."""

    settings: Any = _Nothing
    figures: Any = _Nothing
    outputs: Any = Any


# -- captioning


class _CaptioningSettings(TypedDict, total=False):
    temperature: float
    max_tokens: int


class _CaptioningFigures(TypedDict, total=False):
    asked: int
    shown: dict[str, int]


class _CaptioningOutput(TypedDict, total=False):
    key: str
    references: list[str]
    spoken: str


# -- zero-shot


class _ZeroShotSettings(TypedDict, total=False):
    templates: list[str]
    normalise: str
    without_picture: bool


_ZeroShotClass = TypedDict(
    "_ZeroShotClass", {"class": Required[str], "images": int, "right": int, "accuracy": _Number}, total=False
)


class _ZeroShotFigures(TypedDict, total=False):
    classes: list[_ZeroShotClass]
    confusion: list[list[int]] | None
    shown: dict[str, int]


class _ZeroShotOutput(TypedDict, total=False):
    true: int
    best: list[tuple[int, float]]


# -- probe


class _ProbeSettings(TypedDict, total=False):
    train: str
    pooling: str


class _ProbeRate(TypedDict, total=False):
    learning_rate: Required[float]
    losses: Required[list[_Number]]
    accuracy: _Number
    loss: _Number
    chosen: Required[bool]


class _ProbeClass(TypedDict, total=False):
    training: int
    test: int
    accuracy: _Number


class _ProbeFigures(TypedDict, total=False):
    classes: list[str]
    sweep: list[_ProbeRate]
    learned: int
    held_out: int
    per_class: list[_ProbeClass]
    confusion: list[list[int]] | None
    shown: dict[str, int]


class _ProbeOutput(TypedDict, total=False):
    true: int
    chosen: int


# -- segmentation


class _SegmentationSettings(TypedDict, total=False):
    train: str
    epochs: int
    batch: int


_SegmentationClass = TypedDict(
    "_SegmentationClass", {"class": Required[str], "iou": _Number, "learned_from": int}, total=False
)


class _SegmentationRate(TypedDict, total=False):
    learning_rate: Required[float]
    mIoU: _Number


class _SegmentationFigures(TypedDict, total=False):
    classes: list[_SegmentationClass]
    sweep: list[_SegmentationRate]
    chosen: int
    images: dict[str, int]
    colours: dict[str, str]


# -- over resolutions


class _ResolutionSettings(TypedDict, total=False):
    measurement: str
    sizes: list[int]
    max_patches: list[int]


class _Point(TypedDict, total=False):
    name: Required[str]
    resize: Required[str]
    patches: Required[int]
    scores: Required[dict[str, _Triple]]


class _ResolutionFigures(TypedDict, total=False):
    scores: list[str]
    points: list[_Point]


# -- attention


class _Layers(TypedDict, total=False):
    value: Required[list[_Number]]
    low: list[_Number]
    high: list[_Number]


class _AttentionFigures(TypedDict, total=False):
    layers: dict[str, _Layers]
    heads: dict[str, list[list[float]]]
    even: dict[str, float]
    gate: dict[str, list[float]] | None
    first_patch_norm: list[_Number]


# -- readout


class _ReadoutSettings(TypedDict, total=False):
    k: int


class _Word(TypedDict, total=False):
    tokens: Required[list[str]]
    split: Required[bool]


class _ReadoutFigures(TypedDict, total=False):
    likeliest: list[tuple[str, float]]
    words: dict[str, _Word]
    shown: int


class _Object(TypedDict, total=False):
    words: Required[list[str]]
    patches: Required[list[int]]
    heard: Required[list[int]]


class _ReadoutOutput(TypedDict, total=False):
    grid: tuple[int, int]
    words: list[list[tuple[str, float]]]
    objects: list[_Object]


# -- features


class _Near(TypedDict):
    patch: _Patch
    cosine: float


class _Query(TypedDict):
    patch: _Patch
    nearest: list[_Near]


_FeaturesFigures = TypedDict(
    "_FeaturesFigures",
    {
        "explained variance": list[float],
        "limit": float,
        "places": list[tuple[int, int, int, int]],
        "neighbours": list[_Query],
    },
    total=False,
)


class _FeaturesOutput(TypedDict, total=False):
    grid: tuple[int, int]
    before: list[float]
    after: list[float]
    outliers: list[int]


_OF: Mapping[str, _Of] = {
    "captioning": _Of(_CaptioningSettings, _CaptioningFigures, _CaptioningOutput),
    "zero-shot": _Of(_ZeroShotSettings, _ZeroShotFigures, _ZeroShotOutput),
    "probe": _Of(_ProbeSettings, _ProbeFigures, _ProbeOutput),
    "segmentation": _Of(_SegmentationSettings, _SegmentationFigures),
    "resolution": _Of(_ResolutionSettings, _ResolutionFigures),
    "attention": _Of(_Nothing, _AttentionFigures),
    "readout": _Of(_ReadoutSettings, _ReadoutFigures, _ReadoutOutput),
    "features": _Of(_Nothing, _FeaturesFigures, _FeaturesOutput),
}
_OF_PATCHES = ("words", "before", "after")  # which have an entry for each patch of `grid`


def check_stored(stored: Any) -> None:
    """Raise ValueError for a field of another type than pages rely on."""
    checked(stored, _Stored, "it")
    own = _OF.get(stored["measurement"], _Of())
    checked(stored["settings"], own.settings, "settings")
    checked(stored.get("figures", {}), own.figures, "figures")
    outputs = stored.get("outputs", [])
    checked(outputs, list[own.outputs], "outputs")  # type: ignore[name-defined]
    for number, output in enumerate(outputs):
        if isinstance(output, dict) and own.outputs is not Any and "grid" in output:
            _check_grid(output, f"outputs[{number}]")


def _check_grid(output: Mapping[str, Any], name: str) -> None:
    """What a picture is drawn by: an entry for each patch, and numbers of patches that there are."""
    rows, columns = output["grid"]
    if min(rows, columns) < 1:
        raise ValueError(f"{name}.grid is {rows} x {columns}: it must have rows and columns of patches")
    for key in _OF_PATCHES:
        if key in output and len(output[key]) != rows * columns:
            raise ValueError(f"{name}.{key} has {len(output[key])} entries for a grid of {rows} x {columns} patches")
    listed = [output.get("outliers", []), *(one[key] for one in output.get("objects", []) for key in ("patches", "heard"))]
    for patch in (patch for some in listed for patch in some):
        if not 0 <= patch < rows * columns:
            raise ValueError(f"{name} names patch {patch} of a grid of {rows} x {columns}")
