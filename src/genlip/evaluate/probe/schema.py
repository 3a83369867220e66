"""Schema: the types of the parts of a stored result that are probe's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Number, Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    train: str
    pooling: str


class _Rate(TypedDict, total=False):
    learning_rate: Required[float]
    losses: Required[list[Number]]
    accuracy: Number
    loss: Number
    chosen: Required[bool]


class _Class(TypedDict, total=False):
    training: int
    test: int
    accuracy: Number


class _Figures(TypedDict, total=False):
    classes: list[str]
    sweep: list[_Rate]
    learned: int
    held_out: int
    per_class: list[_Class]
    confusion: list[list[int]] | None
    shown: dict[str, int]


class _Output(TypedDict, total=False):
    true: int
    chosen: int


SCHEMA = Schema(_Settings, _Figures, _Output)
