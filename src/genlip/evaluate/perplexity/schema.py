"""Schema: the types of the parts of a stored result that are perplexity's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Number, Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    language_model: str
    train: str
    steps: int
    learning_rates: list[float]
    seed: int


class _Curve(TypedDict, total=False):
    stage: Required[str]
    learning_rate: Required[float]
    steps: Required[list[int]]
    loss: Required[list[Number]]


class _Figures(TypedDict, total=False):
    curves: list[_Curve]
    chosen: dict[str, float]
    untrained: Number


SCHEMA = Schema(_Settings, _Figures)
