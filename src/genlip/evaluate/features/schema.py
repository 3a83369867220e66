"""Schema: the types of the parts of a stored result that are features's own."""

from __future__ import annotations

from typing import TypedDict

from genlip.evaluate.schema import Nothing, Patch, Schema

__all__ = ["SCHEMA"]


class _Near(TypedDict):
    patch: Patch
    cosine: float


class _Query(TypedDict):
    patch: Patch
    nearest: list[_Near]


_Figures = TypedDict(
    "_Figures",
    {
        "explained variance": list[float],
        "limit": float,
        "places": list[tuple[int, int, int, int]],
        "neighbours": list[_Query],
    },
    total=False,
)


class _Output(TypedDict, total=False):
    grid: tuple[int, int]
    before: list[float]
    after: list[float]
    outliers: list[int]


SCHEMA = Schema(Nothing, _Figures, _Output)
