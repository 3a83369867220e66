"""Spinning: how long a thread of PyTorch looks for its next part of work before it sleeps.

In: the environment. Out: the same with GOMP_SPINCOUNT, unless the user has set it.

PyTorch's wheels for Linux bring GNU's OpenMP, whose threads spin for milliseconds by default: time that another program on
the same core could use, and that the system then takes from the thread that all others wait for. OpenMP reads the variable
once, when PyTorch is imported.
"""

from __future__ import annotations

import os
import sys

__all__ = ["limit_spinning"]

_SPINS = "10000"  # benchmarks/busy.md: as fast as the default on a quiet machine, and twice as fast on a busy one
_SET_BY_USERS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def limit_spinning() -> bool:
    """Let threads sleep early; True if it was set. It changes the environment, so commands call it, and functions do not."""
    if "torch" in sys.modules or any(name in os.environ for name in _SET_BY_USERS):
        return False
    os.environ["GOMP_SPINCOUNT"] = _SPINS
    return True
