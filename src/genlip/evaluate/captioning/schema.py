"""Schema: the types of the parts of a stored result that are captioning's own."""

from __future__ import annotations

from typing import TypedDict

from genlip.evaluate.schema import Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    temperature: float
    max_tokens: int


class _Figures(TypedDict, total=False):
    asked: int
    shown: dict[str, int]


class _Output(TypedDict, total=False):
    key: str
    references: list[str]
    spoken: str


SCHEMA = Schema(_Settings, _Figures, _Output)
