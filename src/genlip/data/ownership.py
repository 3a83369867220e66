"""Ownership: a folder that one process writes to at a time.

In: a folder. Out: the right to write there, until it is given back or the process ends, however it ends. The system keeps
the lock, so that none is left behind; who holds it stands in the file `.lock`.
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

_PATIENCE = 3.0  # seconds: workers of a process that was killed take a moment to end
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # as of some network file systems


@contextmanager
def own(folder: Path, work: str) -> Iterator[None]:
    """Have a folder for oneself. It is made, and if nothing was put into it, removed again.

    Raises ValueError if another process has it; `work` says what such a process does.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".lock"
    lock = FileLock(file)
    try:
        lock.acquire(timeout=_PATIENCE)
        with suppress(OSError):  # for the reader alone
            file.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf8")
    except Timeout:
        raise ValueError(
            f"{folder}: another {work} is writing there{_holder(file)}; wait for it, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        log.warning("%s cannot be locked (%s): nothing keeps a second %s out of it", folder, error, work)
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
