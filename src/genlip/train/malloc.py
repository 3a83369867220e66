"""Memory habits of a training process: keep what was freed, since the next step asks for it again."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc not to return freed tensors to the system; True if it listened (Linux with glibc only).

    By default every large tensor is mapped and unmapped anew, and the system clears its pages each time: 5 % of a training
    step. The setting is the whole process's, so commands make it, and functions do not.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
