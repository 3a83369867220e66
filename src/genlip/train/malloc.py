"""The memory allocator of a training process: keep freed memory, because the next step needs the same amount again."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc not to return freed memory to the system; True if that worked (Linux with glibc only).

    By default every large tensor is mapped and unmapped, and the system clears its pages each time, which takes 5 % of a
    training step. The setting holds for the whole process, so only commands make it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
