"""Schema: the types of the parts of a stored result that are resolution's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Schema, Triple

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    measurement: str
    sizes: list[int]
    max_patches: list[int]


class _Point(TypedDict, total=False):
    name: Required[str]
    resize: Required[str]
    patches: Required[int]
    scores: Required[dict[str, Triple]]


class _Figures(TypedDict, total=False):
    scores: list[str]
    points: list[_Point]


SCHEMA = Schema(_Settings, _Figures)
