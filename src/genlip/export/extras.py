"""Optional libraries: what an export needs beyond the core, imported when it is used.

In: the name of a module. Out: the module, or one line that says which `pip install` brings it.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["MissingExtra", "require"]


class MissingExtra(ImportError):
    """A library that one of our extras brings is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import a module that `pip install "genlip[extra]"` brings. Raises `MissingExtra` where it is not there.

    A module that is there and fails on importing something else raises its own error: that is no missing extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise MissingExtra(f'{library} is not installed: pip install "genlip[{extra}]"', name=library) from None
