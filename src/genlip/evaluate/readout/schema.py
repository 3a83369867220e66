"""Schema: the types of the parts of a stored result that are readout's own."""

from __future__ import annotations

from typing import Required, TypedDict

from genlip.evaluate.schema import Schema

__all__ = ["SCHEMA"]


class _Settings(TypedDict, total=False):
    k: int


class _Word(TypedDict, total=False):
    tokens: Required[list[str]]
    split: Required[bool]


class _Figures(TypedDict, total=False):
    likeliest: list[tuple[str, float]]
    words: dict[str, _Word]
    shown: int


class _Object(TypedDict, total=False):
    words: Required[list[str]]
    patches: Required[list[int]]
    heard: Required[list[int]]


class _Output(TypedDict, total=False):
    grid: tuple[int, int]
    words: list[list[tuple[str, float]]]
    objects: list[_Object]


SCHEMA = Schema(_Settings, _Figures, _Output)
