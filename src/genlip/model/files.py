"""Files: what stands at a path, told before it is opened and without waiting for it.

In: paths, as users, folders and tables give them. Out: paths that can be used, or one line that says why not.
A named pipe or a device is never opened: a reader would wait for it, or read from it, without end.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

__all__ = ["check_regular", "expanded", "is_folder_name", "printable", "told"]

_LONGEST = 1000  # characters of a message

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


def told(text: str) -> str:
    """What a message says of a name from a file, or of another's error: on one line, and cut short."""
    line = printable(" ".join(text.splitlines()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def is_folder_name(path: str) -> bool:
    """Whether a path that is not there can only mean a folder: it ends with a slash, or has one and no suffix."""
    if "://" in path or any(sign in path for sign in "*?[{"):
        return False
    return path.endswith("/") or ("/" in path and not Path(path).suffix)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises ValueError for what is there and no file, such as a named pipe, and FileNotFoundError for what is not there."""
    kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116  a text, as long as it may be
    if kind != stat.S_IFREG:
        raise ValueError(f"{printable(str(path))}: is {_KINDS.get(kind, 'no regular file')}; need a file")
