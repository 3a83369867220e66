"""Open files: what a process keeps open of its sources, within what the system lets it have.

In: who reads, what is to be open, and how to open it. Out: that, opened now or before. All sources of a process share one
pool, since they share one limit (`ulimit -n`). What was used least recently goes first, and is closed once nobody holds it
any more; with a source goes what was open for it.
"""

from __future__ import annotations

import resource
import weakref
from collections.abc import Callable, Hashable
from typing import TypeVar

__all__ = ["LOCAL", "REMOTE", "OpenFiles"]

T = TypeVar("T")

_MOST = 64
_SHARE = 8  # of the files that a process may have open, one in so many is for data


class OpenFiles:
    """Open files, least recently used first: at most `most` of them, and a share of the system's limit.

    There is no lock, which a fork could copy while it is held: threads that race open a file twice, and both may read it.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.opened: dict[tuple[int, Hashable], object] = {}
        self._owners: set[int] = set()

    def get(self, owner: object, key: Hashable, opener: Callable[[], T]) -> T:
        """What is open for an owner under a key; `opener` opens it where nothing is."""
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
        """Files that may be open now."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.most if soft == resource.RLIM_INFINITY else max(1, min(self.most, soft // _SHARE))

    def _forget(self, owner: int) -> None:
        self._owners.discard(owner)
        for place in [place for place in self.opened if place[0] == owner]:
            self.opened.pop(place, None)


LOCAL = OpenFiles(_MOST)
REMOTE = OpenFiles(8)  # a copy of a remote shard that is open keeps its space on disk after its eviction
