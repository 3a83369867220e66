"""Types of values from files: what passes, what becomes what, and messages that name the field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Required, TypedDict

import pytest

from genlip.model.fields import check_fields, checked, read_fields, shown

NAN, INFINITY = float("nan"), float("inf")


class Point(TypedDict, total=False):
    name: Required[str]
    at: tuple[int, int]


class Whole(TypedDict):
    parts: list[int]


@dataclass(frozen=True)
class Settings:
    size: int = 3
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    section: tuple[int, ...] | None = None


@pytest.mark.parametrize(
    ("value", "hint", "found"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (None, int | None, None),
        (["a", "b"], tuple[str, str], ("a", "b")),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ([], list[int], []),
        ({"a": [1]}, dict[str, list[int]], {"a": [1]}),
        ({"a": 1}, Mapping[str, Any], {"a": 1}),
        ((1, 2), Sequence[int], [1, 2]),
        ("a", Literal["a", "b"], "a"),
        ({"name": "x", "at": [1, 2], "more": 5}, Point, {"name": "x", "at": (1, 2), "more": 5}),
        (NAN, Any, NAN),
    ],
)
def test_what_fits_passes(value, hint, found):
    assert repr(checked(value, hint, "x")) == repr(found)


@pytest.mark.parametrize(
    ("value", "hint", "told"),
    [
        (True, int, "x is True: it must be a whole number"),
        (3.0, int, "x is 3.0: it must be a whole number"),
        (2**63, int, "x is 9223372036854775808: a whole number must be less than 2**63"),
        (True, float, "x is True: it must be a finite number"),
        (NAN, float, "x is nan: it must be a finite number"),
        (-INFINITY, float, "x is -inf: it must be a finite number"),
        (10**400, float, "x is 1000"),
        ("3", float, "x is '3': it must be a finite number"),
        (1, bool, "x is 1: it must be true or false"),
        ("false", bool, "x is 'false': it must be true or false"),
        (5, str, "x is 5: it must be a text"),
        ("a", int | None, "x is 'a': it must be a whole number"),
        ("a", int | list[int], "x is 'a': it must be a whole number or a list"),
        ("ab", list[str], "x is 'ab': it must be a list"),
        ([1, "b"], list[int], "x[1] is 'b': it must be a whole number"),
        ([1, 2, 3], tuple[int, int], "x is [1, 2, 3]: it must be a list of 2"),
        ([], dict[str, int], "x is []: it must be an object"),
        ({1: 2}, dict[str, int], "x is {1: 2}: it must be an object"),
        ({"a": {"b": None}}, dict[str, dict[str, int]], "x.a.b is None: it must be a whole number"),
        ("c", Literal["a", "b"], "x is 'c': it must be 'a' or 'b'"),
        (["a"], Literal["a", "b"], "x is ['a']: it must be 'a' or 'b'"),
        ({"at": [1, 2]}, Point, "x has no 'name'"),
        ({}, Whole, "x has no 'parts'"),
        ({"name": "a", "at": [1, "b"]}, Point, "x.at[1] is 'b': it must be a whole number"),
        ("y" * 10**6, int, "x is 'yyyy"),
    ],
)
def test_what_does_not_fit_is_named(value, hint, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as error:
        checked(value, hint, "x")
    assert len(str(error.value)) < 150


def test_a_dataclass_is_read_or_its_field_named():
    assert read_fields(Settings, {"rate": 1, "section": [1, 2]}) == Settings(rate=1, section=[1, 2])
    with pytest.raises(ValueError, match=r"^s has the unknown key 'sise'; the keys are size, rate, kind, section$"):
        read_fields(Settings, {"sise": 3}, "s")
    with pytest.raises(ValueError, match=r"^s is 5: it must be an object$"):
        read_fields(Settings, 5, "s")


def test_a_dataclass_may_check_itself():
    settings = Settings(rate=1, section=[1, 2])
    check_fields(settings)
    assert (settings.rate, settings.section) == (1.0, (1, 2))
    with pytest.raises(ValueError, match=r"^data\.size is '3': it must be a whole number"):
        check_fields(Settings(size="3"), "data.")
    check_fields(Settings(size="3"), but=("size",))


def test_what_a_message_shows_is_one_short_line():
    nested = {name: {name: [{name: "x" * 30}] * 9 for name in "abcdefgh"} for name in "abcdefgh"}
    assert len(shown(nested)) < 210
    assert shown("a\nb") == r"'a\nb'"
