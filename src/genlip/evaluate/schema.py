"""Schema: the types of a stored result, including the parts that belong to one measurement.

In: the object of a `result.json`. Out: nothing, or a ValueError that names the field. Pages and comparisons rely on it. No
field but those of `Result` must be there, since results of older versions lack some; those that nothing reads may be any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Required, TypedDict

from genlip.model.fields import checked

__all__ = ["Nothing", "Number", "Patch", "Schema", "Triple", "check_stored"]

Number = float | None
Triple = tuple[Number, Number, Number]
Patch = tuple[int, int, int]


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


class Nothing(TypedDict, total=False):
    """Any object; none of its fields are read."""


class Schema(NamedTuple):
    """The types of a measurement's own parts."""

    settings: Any = Nothing
    figures: Any = Nothing
    outputs: Any = Any


_OF_PATCHES = ("words", "before", "after")  # lists with an entry for each patch of `grid`


def check_stored(stored: Any, own: Schema) -> None:
    """Raise ValueError for a field of another type than pages rely on; `own` types the measurement's own parts."""
    checked(stored, _Stored, "it")
    checked(stored["settings"], own.settings, "settings")
    checked(stored.get("figures", {}), own.figures, "figures")
    outputs = stored.get("outputs", [])
    checked(outputs, list[own.outputs], "outputs")  # type: ignore[name-defined]
    for number, output in enumerate(outputs):
        if isinstance(output, dict) and own.outputs is not Any and "grid" in output:
            _check_grid(output, f"outputs[{number}]")


def _check_grid(output: Mapping[str, Any], name: str) -> None:
    """What pictures are drawn from: an entry for each patch, and numbers of patches within the grid."""
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
