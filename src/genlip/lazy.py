"""Lazy packages: names of a package are imported from their modules when they are first used (PEP 562).

In: the package, and the module of each name. Out: the `__getattr__` and `__dir__` of the package. Imports nothing of genlip.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, homes: Mapping[str, str], parts: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    package  its `__name__`
    homes    for each name, the module within the package from which it is imported
    parts    modules within the package that are also attributes
    """

    def getattribute(name: str) -> Any:
        if name in parts:
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return getattribute, lambda: [*homes, *parts]
