"""A process that ends at its k-th change of the disk, as a kill would end it there, but for what is cleaned up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

CHANGES = ((os, "replace"), (os, "rename"), (os, "unlink"), (os, "mkdir"), (os, "rmdir"), (Path, "write_text"))


class Stop(BaseException):
    """Not an Exception: nothing handles it."""


def stopped_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the change of that number on, nothing reaches the disk any more, and each raises `Stop`."""
    done = -1

    def counted(change: Any) -> Any:
        def changed(*arguments: Any, **keywords: Any) -> Any:
            nonlocal done
            done += 1
            if done >= number:
                raise Stop
            return change(*arguments, **keywords)

        return changed

    for owner, name in CHANGES:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
