"""Optional libraries: what exports and encoders need beyond the core, imported when they are used.

In: the name of a module. Out: the module, or an error of one line with the `pip install` command that installs it. The
oldest accepted version is read from genlip's own metadata, which comes from `pyproject.toml`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from types import ModuleType

from packaging.requirements import Requirement
from packaging.version import Version

__all__ = ["MissingExtra", "require"]


class MissingExtra(ImportError):
    """A library of one of our extras is not installed, or is older than the extra requires."""


def require(module: str, extra: str) -> ModuleType:
    """Import a module that `pip install "genlip[extra]"` installs. Raises `MissingExtra` if it is missing or too old.

    If the module is installed but fails to import another one, its own error is raised.
    """
    library = module.partition(".")[0]
    _check_version(library, extra)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise MissingExtra(f'{library} is not installed: pip install "genlip[{extra}]"', name=library) from None


def _check_version(library: str, extra: str) -> None:
    """Raises `MissingExtra` if the library is older than the extra's minimum."""
    least = _minimums(extra).get(library)
    if least is None:
        return
    try:
        found = metadata.version(library)
    except metadata.PackageNotFoundError:  # not installed, or under another name, such as onnxruntime-gpu
        return
    if Version(found) < least:
        raise MissingExtra(
            f'{library} {found} is installed, and genlip needs {least} or newer: pip install "genlip[{extra}]"', name=library
        )


@cache
def _minimums(extra: str) -> dict[str, Version]:
    """The oldest version of each library that an extra accepts."""
    try:
        lines = metadata.requires("genlip") or []
    except metadata.PackageNotFoundError:  # run from its sources, without an installation
        return {}
    needed = [one for one in map(Requirement, lines) if one.marker and one.marker.evaluate({"extra": extra})]
    return {one.name: Version(s.version) for one in needed for s in one.specifier if s.operator == ">="}
