"""Fields: checks that a value from a file has the type of a type hint.

In: a value, a hint, and the name of the value in messages. Out: the value, or a one-line ValueError.
Only the hints that our dataclasses use are supported. Numbers must be finite: NaN and infinity are refused.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union

__all__ = ["check_fields", "checked", "read_fields", "shown"]

T = TypeVar("T")

_WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}
_LISTS, _OBJECTS = (list, Sequence), (dict, Mapping)
_LONGEST_SHOWN = 200  # characters; `reprlib` limits each level of a nested value, not the whole
_MOST = 2**63  # limit of the absolute value of a whole number


def check_fields(instance: Any, prefix: str = "", but: Sequence[str] = ()) -> None:
    """Raise ValueError for a field of a frozen dataclass that does not have its type. Call it before other checks.

    Lists become tuples, and whole numbers floats, where the type is one. `prefix` is put before names in messages. Fields
    named in `but` are not checked.
    """
    for name, hint in _hints(type(instance)).items():
        if name not in but:
            object.__setattr__(instance, name, checked(getattr(instance, name), hint, f"{prefix}{name}"))


def read_fields(kind: type[T], stored: Any, name: str = "it") -> T:
    """An instance of a dataclass from a JSON or YAML object. Raises ValueError for unknown, missing and wrong fields."""
    checked(stored, dict[str, Any], name)
    if unknown := [key for key in stored if key not in _hints(kind)]:
        raise ValueError(f"{name} has the unknown key {shown(unknown[0])}; the keys are {', '.join(_hints(kind))}")
    if missing := [field.name for field in dataclasses.fields(kind) if field.name not in stored and _is_needed(field)]:  # type: ignore[arg-type]
        raise ValueError(f"{name} has no {missing[0]!r}")
    return kind(**stored)


def checked(value: Any, hint: Any, name: str) -> Any:
    """The value, converted where needed, if it has the type. Raises a ValueError that begins with the name."""
    outer, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if outer in (Union, types.UnionType):
        return _one_of(value, inner, name)
    if outer is Literal:
        return value if value in inner and type(value) in map(type, inner) else _refuse(value, hint, name)
    if outer is tuple:
        return _tuple(value, inner, hint, name)
    if outer in _LISTS:
        _require(isinstance(value, (list, tuple)), value, list, name)
        return value if inner[0] is Any else [checked(x, inner[0], f"{name}[{i}]") for i, x in enumerate(value)]
    if outer in _OBJECTS:
        _require(isinstance(value, Mapping) and all(isinstance(key, str) for key in value), value, dict, name)
        return value if inner[1] is Any else {key: checked(x, inner[1], f"{name}.{key}") for key, x in value.items()}
    if typing.is_typeddict(hint):
        return _keys(value, hint, name)
    return _plain(value, hint, name)


def shown(value: Any) -> str:
    """A value for a message, on one line and shortened."""
    text = reprlib.repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_hints: Callable[[Any], dict[str, Any]] = cache(typing.get_type_hints)


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@cache
def _required(hint: Any) -> list[str]:
    """Required keys of a TypedDict; `__required_keys__` does not handle annotations that are strings."""
    marked = {key: typing.get_origin(kind) for key, kind in typing.get_type_hints(hint, include_extras=True).items()}
    return [
        key for key, mark in marked.items() if mark is typing.Required or (hint.__total__ and mark is not typing.NotRequired)
    ]


def _plain(value: Any, hint: Any, name: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        _require(abs(value) < _MOST if isinstance(value, int) else math.isfinite(value), value, hint, name)
        return float(value)
    if hint is int:
        _require(isinstance(value, int) and not isinstance(value, bool), value, hint, name)
        if abs(value) >= _MOST:
            raise ValueError(f"{name} is {shown(value)}: a whole number must be less than 2**63")
        return value
    _require(hint is not float and isinstance(value, hint), value, hint, name)
    return value


def _one_of(value: Any, hints: tuple[Any, ...], name: str) -> Any:
    if len(given := [hint for hint in hints if hint is not type(None)]) == 1 and value is not None:
        return checked(value, given[0], name)
    for hint in hints:
        try:
            return checked(value, hint, name)
        except ValueError:
            continue
    return _refuse(value, Union[hints], name)  # noqa: UP007  of a tuple


def _tuple(value: Any, inner: tuple[Any, ...], hint: Any, name: str) -> Any:
    _require(isinstance(value, (list, tuple)), value, list, name)
    hints = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
    if len(hints) != len(value):
        _refuse(value, hint, name)
    return tuple(checked(x, h, f"{name}[{i}]") for i, (x, h) in enumerate(zip(value, hints, strict=True)))


def _keys(value: Any, hint: Any, name: str) -> Any:
    """A checked TypedDict: required keys must be there, other known keys are checked, unknown keys are kept."""
    _require(isinstance(value, Mapping), value, dict, name)
    if missing := [key for key in _required(hint) if key not in value]:
        raise ValueError(f"{name} has no {missing[0]!r}")
    return {**value, **{key: checked(value[key], h, f"{name}.{key}") for key, h in _hints(hint).items() if key in value}}


def _require(good: bool, value: Any, hint: Any, name: str) -> None:
    if not good:
        _refuse(value, hint, name)


def _refuse(value: Any, hint: Any, name: str) -> Any:
    raise ValueError(f"{name} is {shown(value)}: it must be {_words(hint)}")


def _words(hint: Any) -> str:
    outer, inner = typing.get_origin(hint), typing.get_args(hint)
    if outer is Literal:
        return " or ".join(map(repr, inner))
    if outer in (Union, types.UnionType):
        return " or ".join(map(_words, inner))
    if outer is tuple:
        return f"a list of {len(inner)}" if inner[1:] != (...,) else "a list"
    if outer in _LISTS or outer in _OBJECTS or typing.is_typeddict(hint):
        return _WORDS[list if outer in _LISTS else dict]
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
