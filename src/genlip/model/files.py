"""Files: what a path is, without opening it.

In: paths from users, folders and tables. Out: usable paths, or one-line errors.
A named pipe or a device is never opened: reading it could wait, or go on, without end.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

__all__ = ["check_regular", "expanded", "is_folder_name", "one_line", "printable"]

_LONGEST = 1000  # characters of a message

_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with the user's home for `~`; an unknown user is left as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path refuses "~nobody"


def printable(text: str) -> str:
    """A text that UTF-8 can encode: other bytes of a file name become `\\xe9`, lone surrogates `\\ud800`."""
    if text.isascii():
        return text
    bytewise = re.sub("[\udc80-\udcff]", lambda half: f"\\x{ord(half[0]) - 0xDC00:02x}", text)
    return bytewise.encode("utf8", "backslashreplace").decode("utf8")


def one_line(text: str) -> str:
    """A text from a file or from another library's error for a message: on one line, shortened to about 1000 characters."""
    line = printable(" ".join(text.splitlines()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def is_folder_name(path: str) -> bool:
    """Whether a path that does not exist can only mean a folder: it ends with a slash, or has one and no suffix."""
    if "://" in path or any(sign in path for sign in "*?[{"):
        return False
    return path.endswith("/") or ("/" in path and not Path(path).suffix)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises ValueError for something that is not a regular file, such as a named pipe; FileNotFoundError if nothing is
    there."""
    kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116  Path refuses a text that is longer than a file name
    if kind != stat.S_IFREG:
        raise ValueError(f"{printable(str(path))}: is {_KINDS.get(kind, 'not a regular file')}; need a file")
