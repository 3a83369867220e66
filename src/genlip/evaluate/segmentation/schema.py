"""Schema: the types of the parts of a stored result that are segmentation's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Number, Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    train: str
    epochs: int
    batch: int


_Class = TypedDict("_Class", {"class": Required[str], "iou": Number, "learned_from": int}, total=False)


class _Rate(TypedDict, total=False):
    learning_rate: Required[float]
    mIoU: Number


class _Figures(TypedDict, total=False):
    classes: list[_Class]
    sweep: list[_Rate]
    chosen: int
    images: dict[str, int]
    colours: dict[str, str]


SCHEMA = Schema(_Settings, _Figures)
