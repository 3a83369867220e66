"""Schema: the types of the parts of a stored result that are zero-shot's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Number, Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    templates: list[str]
    normalise: str
    without_picture: bool


_Class = TypedDict("_Class", {"class": Required[str], "images": int, "right": int, "accuracy": Number}, total=False)


class _Figures(TypedDict, total=False):
    classes: list[_Class]
    confusion: list[list[int]] | None
    shown: dict[str, int]


class _Output(TypedDict, total=False):
    true: int
    best: list[tuple[int, float]]


SCHEMA = Schema(_Settings, _Figures, _Output)
