"""Schema: the types of the parts of a stored result that are attention's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Nothing, Number, Schema

__all__ = ["SCHEMA"]


class _Layers(TypedDict, total=False):
    value: Required[list[Number]]
    low: list[Number]
    high: list[Number]


class _Figures(TypedDict, total=False):
    layers: dict[str, _Layers]
    heads: dict[str, list[list[float]]]
    even: dict[str, float]
    gate: dict[str, list[float]] | None
    first_patch_norm: list[Number]


SCHEMA = Schema(Nothing, _Figures)
