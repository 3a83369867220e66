"""Files: what stands at a path, told before it is opened and without waiting for it.

In: paths, as users, folders and tables give them. Out: paths and texts that can be used, or one line that says why not.
A named pipe or a device is never opened: a reader would wait for it, or read from it, without end.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

__all__ = [
    "LFS_POINTER",
    "MAX_TABLE_BYTES",
    "check_regular",
    "expanded",
    "holds_lfs_pointer",
    "is_lfs_pointer",
    "printable",
    "read_text",
]

LFS_POINTER = "a Git LFS pointer, not the file: git lfs pull"
MAX_TABLE_BYTES = 2**31  # of a table, a list or any other text that is read whole
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with the user's home for `~`; one of a user who does not exist stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path refuses "~nobody"


def printable(text: str) -> str:
    """A text that can be written: bytes of a name that are no UTF-8 as `\\xe9`, halves of characters as `\\ud800`."""
    if text.isascii():
        return text
    bytewise = re.sub("[\udc80-\udcff]", lambda half: f"\\x{ord(half[0]) - 0xDC00:02x}", text)
    return bytewise.encode("utf8", "backslashreplace").decode("utf8")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises ValueError for what is there and no file, such as a named pipe, and FileNotFoundError for what is not there."""
    kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116  a text, as long as it may be
    if kind != stat.S_IFREG:
        raise ValueError(f"{printable(str(path))}: is {_KINDS.get(kind, 'no regular file')}; need a file")


def is_lfs_pointer(head: bytes) -> bool:
    """Whether these are the first bytes of what Git keeps in place of a large file."""
    return head.startswith(b"version https://git-lfs.github.com/spec/")


def holds_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a file is such a pointer."""
    with Path(path).open("rb") as file:
        return is_lfs_pointer(file.read(64))


def read_text(path: str | os.PathLike[str], limit: int = MAX_TABLE_BYTES) -> str:
    """The text of a file in UTF-8, with or without a mark at its beginning.

    Raises FileNotFoundError where it is gone; ValueError where it is no file, above the limit, a pointer, or no UTF-8.
    """
    name = printable(str(path))
    check_regular(path)
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(limit + 1)
    if max(size, len(data)) > limit:
        raise ValueError(f"{name}: holds more than {limit:,} bytes of text, which is the limit")
    if is_lfs_pointer(data):
        raise ValueError(f"{name}: {LFS_POINTER}")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")  # as Python's text files do it
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 text: {error}") from None
