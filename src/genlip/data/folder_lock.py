"""Folder lock: a lock on a folder, so that only one process writes to it.

In: a folder. Out: the lock, until it is released or the process ends in any way. The operating system holds it, so no stale
lock remains. The file `.lock` names the process that holds it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["own"]

log = logging.getLogger(__name__)

_PATIENCE = 3.0  # seconds to wait: workers of a killed process take a moment to end
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # as of some network file systems


@contextmanager
def own(folder: Path, work: str) -> Iterator[None]:
    """Lock a folder. It is created if needed, and removed again if it stays empty.

    Raises ValueError if another process holds the lock; `work` names that work in the message.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".lock"
    lock = FileLock(file)
    try:
        lock.acquire(timeout=_PATIENCE)
        with suppress(OSError):  # for messages only
            file.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf8")
    except Timeout:
        raise ValueError(
            f"{folder}: another {work} is writing there{_holder(file)}; wait for it, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        log.warning("%s cannot be locked (%s): a second %s could write there at the same time", folder, error, work)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        lock.release()
        for path in made:
            with suppress(OSError):  # it holds something
                path.rmdir()


def _holder(file: Path) -> str:
    try:
        words = file.read_text(encoding="utf8", errors="replace")[:200]
    except OSError:
        return ""
    return f" ({words})" if words else ""
