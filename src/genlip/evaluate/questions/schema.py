"""Schema: the types of the parts of a stored result that are the measurement's own."""

from __future__ import annotations

from typing import TypedDict

from genlip.evaluate.schema import Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    metric: str
    prompt_suffix: str
    max_tokens: int


class _Figures(TypedDict, total=False):
    asked: int
    skipped: dict[str, int]
    chance: float
    shown: dict[str, int]


class _Control(TypedDict, total=False):
    said: str
    score: float


class _Output(TypedDict, total=False):
    key: str
    question: str
    answers: list[str]
    options: list[str]
    right: int
    type: str
    said: str
    score: float
    controls: dict[str, _Control]


SCHEMA = Schema(_Settings, _Figures, _Output)
