"""Cache: local copies of remote shards, within a limit of bytes.

In: the URL of a shard. Out: an open local file. Whole shards are fetched once per machine, by the first process
that needs them. The least recently opened ones are deleted first. An open file stays readable after its deletion; its space
is freed when it is closed.

    <folder>/shards/<hash>        a shard; its modification time is the time of the last opening
    <folder>/shards/<hash>.part   a shard during download
    <folder>/locks/<hash>         held while a shard is fetched; the system releases it when its process dies
    <folder>/index/<hash>.npy     see `genlip.data.sources.tar`
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from genlip.data.sources.paths import file_system, is_remote

__all__ = ["ShardCache", "cache_folder", "fingerprint"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_LIMIT_GIB = 50.0
_WAITS = (1.0, 4.0, 16.0)  # seconds before another attempt
# Metadata that changes with a file's content, the most reliable first; each file system has its own names.
_MARKS = (
    "ETag", "etag", "xet_hash", "blob_id", "Content-MD5", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified",
    "Last-Modified", "updated", "modified", "created",
)  # fmt: skip


def cache_folder() -> Path:
    """$GENLIP_CACHE, else genlip in $XDG_CACHE_HOME, else ~/.cache/genlip."""
    if own := os.environ.get("GENLIP_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "genlip"


def _limit_bytes() -> int:
    text = os.environ.get("GENLIP_CACHE_LIMIT") or str(_LIMIT_GIB)
    try:
        return int(float(text) * 2**30)
    except (ValueError, OverflowError):
        raise ValueError(f"GENLIP_CACHE_LIMIT is {text!r}; need a number of GiB, as in 200") from None


def fingerprint(path: str) -> str:
    """32 hexadecimal digits for a path and the content there, as far as the metadata shows it.

    Raises FileNotFoundError if the file does not exist, OSError if the file system does not answer.
    """
    if not is_remote(path):
        found = Path(path).stat()
        return _digest(str(Path(path).absolute()), found.st_size, found.st_mtime_ns)
    return _remote_fingerprint(path, _info(path))


def _remote_fingerprint(url: str, info: dict[str, Any]) -> str:
    # Only one entry: listing a folder and querying a file may return different ones.
    mark = next((str(info[mark]) for mark in _MARKS if info.get(mark)), "")
    return _digest(url, info.get("size"), mark)


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(repr(parts).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _info(url: str) -> dict[str, Any]:
    """Metadata of a file from its file system."""
    system, path = file_system(url)
    return _persistently(lambda: dict(system.info(path)), url)


@dataclass(frozen=True)
class ShardCache:
    """Local copies of remote shards.

    Attributes:
        folder: shared by all processes of a machine.
        limit_bytes: limit of their total size. One shard is always kept, and shards during download count too.
    """

    folder: Path
    limit_bytes: int

    @classmethod
    def default(cls) -> ShardCache:
        """In `cache_folder()`, within $GENLIP_CACHE_LIMIT GiB, or 50."""
        return cls(cache_folder(), _limit_bytes())

    def open(self, path: str, version: str | None = None) -> int:
        """The descriptor of a local file with the content of a path or URL; the caller closes it. See `open_with`."""
        return self.open_with(path, lambda local: os.open(local, os.O_RDONLY), version)

    def open_with(self, path: str, opener: Callable[[Path], T], version: str | None = None) -> T:
        """The result of `opener` on a local file with the content of a path or URL.

        version  the `fingerprint` that a remote file must have; default: the current one

        Raises FileNotFoundError for a missing file; OSError with the URL if it cannot be fetched or has changed.
        """
        if not is_remote(path):
            return opener(Path(path))
        version = version or fingerprint(path)
        while True:
            local = self._fetched(path, version)
            try:
                opened = opener(local)
            except FileNotFoundError:
                if local.exists():
                    raise
                continue  # deleted by another process meanwhile
            with contextlib.suppress(FileNotFoundError):
                os.utime(local)
            return opened

    def _fetched(self, url: str, version: str) -> Path:
        """The copy of a shard, fetched if needed. Only the holder of the lock writes the `.part` file."""
        local = self.folder / "shards" / version
        if local.exists():
            return local
        local.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(version):
            if local.exists():  # by whoever held the lock
                return local
            info = _info(url)
            if _remote_fingerprint(url, info) != version:
                raise OSError(f"{url}: has changed since it was opened; start again to read it anew")
            part = local.with_name(f"{version}.part")
            part.unlink(missing_ok=True)  # of a process that was killed
            self._evict(room=info.get("size") or 0)
            _download(url, part, info.get("size"))
            part.replace(local)
        self._evict(keep=local)
        return local

    def _lock(self, version: str) -> FileLock:
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "locks" / version)

    def _evict(self, room: int = 0, keep: Path | None = None) -> None:
        """Remove shards, least recently opened first, until `room` bytes are free within the limit."""
        found = []
        for path in (self.folder / "shards").iterdir():
            with contextlib.suppress(FileNotFoundError):  # evicted by another process
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found) + room
        for _, size, path in sorted(found):
            if path.suffix == ".part":
                total -= size if self._remove_stale(path) else 0
            elif total > self.limit_bytes and path != keep:
                path.unlink(missing_ok=True)
                total -= size

    def _remove_stale(self, part: Path) -> bool:
        """Remove an incomplete file of a killed process: a process that still fetches it holds the lock."""
        lock = self._lock(part.stem)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            part.unlink(missing_ok=True)
        finally:
            lock.release()
        return True


def _download(url: str, part: Path, size: int | None) -> None:
    system, path = file_system(url)

    def fetch() -> None:
        system.get_file(path, str(part))
        if size is not None and part.stat().st_size != size:
            raise OSError(f"{part.stat().st_size} of {size} bytes arrived")

    _persistently(fetch, url)


def _persistently(action: Callable[[], T], url: str) -> T:
    """The result of an action on a remote file, retried after increasing waits."""
    for wait in (*_WAITS, None):
        try:
            return action()
        except (FileNotFoundError, PermissionError, ImportError):
            raise
        except Exception as error:  # each client library raises classes of its own
            if wait is None:
                raise OSError(f"{url}: cannot be read after {len(_WAITS) + 1} attempts: {error!r}") from error
            log.warning("%s: %r; next attempt in %g s", url, error, wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")
