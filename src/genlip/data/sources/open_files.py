"""Open files: the files that a process keeps open for its sources, within the limit of the system.

In: an owner, a key, and a function that opens the file. Out: the open file. All sources of a process share one pool, since
they share one limit (`ulimit -n`). The least recently used file is dropped first, and closed when nothing refers to it any
more. When a source is deleted, its files are dropped.
"""

from __future__ import annotations

import resource
import weakref
from collections.abc import Callable, Hashable
from typing import TypeVar

__all__ = ["LOCAL", "REMOTE", "OpenFiles"]

T = TypeVar("T")

_MOST = 64
_SHARE = 8  # data may use 1/8 of the files that a process may open


class OpenFiles:
    """Open files, least recently used first: at most `capacity` of them, and a share of the system's limit.

    There is no lock, because a fork could copy a held one. Two threads may open the same file twice, which does no harm.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.opened: dict[tuple[int, Hashable], object] = {}
        self._owners: set[int] = set()

    def get(self, owner: object, key: Hashable, opener: Callable[[], T]) -> T:
        """The open file of an owner and a key; `opener` opens it if needed."""
        place = (id(owner), key)
        found: T = self.opened.pop(place, None) or opener()  # type: ignore[assignment]
        if id(owner) not in self._owners:
            self._owners.add(id(owner))
            weakref.finalize(owner, self._forget, id(owner)).atexit = False
        self.opened[place] = found
        for old in list(self.opened)[: -self.limit()]:
            self.opened.pop(old, None)
        return found

    def limit(self) -> int:
        """Number of files that may be open now."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.capacity if soft == resource.RLIM_INFINITY else max(1, min(self.capacity, soft // _SHARE))

    def _forget(self, owner: int) -> None:
        self._owners.discard(owner)
        for place in [place for place in self.opened if place[0] == owner]:
            self.opened.pop(place, None)


LOCAL = OpenFiles(_MOST)
REMOTE = OpenFiles(8)  # an open copy of a remote shard keeps its disk space after deletion
