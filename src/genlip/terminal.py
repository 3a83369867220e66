"""Terminal: what is told to a person, and where: every text passes `harmless`, and every stream takes every character.

In: texts, which may hold names of files, captions, keys and what a model says. Out: lines on standard output and standard
error that a terminal only shows. It imports nothing of genlip, so every module may use it.
"""

from __future__ import annotations

import io
import logging
import os
import re
import select
import shlex
import shutil
import sys
from pathlib import Path
from typing import TextIO

__all__ = ["HarmlessFormatter", "complain", "harmless", "open_streams", "program", "reader_is_gone", "say"]

# What a terminal obeys: control characters but tab and newline, and what turns the direction of the text that follows.
_OBEYED = (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = dict.fromkeys(_OBEYED, "\ufffd") | {byte: f"\\x{byte & 0xFF:02x}" for byte in range(0xDC80, 0xDD00)}
_SHOWN |= {half: f"\\u{half:04x}" for half in range(0xD800, 0xE000) if half not in _SHOWN}
_UNSAFE = re.compile(f"[{''.join(map(chr, _SHOWN))}]")  # to search for all at once is faster than to look up each letter


def harmless(text: str) -> str:
    """A text with U+FFFD for what a terminal would obey, and `\\xe9` for a byte of a name that is no UTF-8."""
    return _UNSAFE.sub(lambda sign: _SHOWN[ord(sign[0])], text)


def say(text: object, end: str = "\n") -> None:
    """Print for a person or a pipe, at once. An OSError names standard output: it may be a full disk's."""
    try:
        print(harmless(str(text)), end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again at its end, and says so
        raise OSError(f"standard output: cannot be written: {error.strerror}") from error


def complain(text: object) -> None:
    """One line on standard error, whatever the text holds."""
    print(f"genlip: {_one_line(str(text))}", file=sys.stderr, flush=True)


def program() -> str:
    """What a person types to start genlip as this process was: a hint that begins with it works where it is read.

    `genlip` if that is found, else the path of the script, as in `.venv/bin/genlip`, or `python -m genlip`. Where a program
    of somebody else calls genlip, it is `genlip`.
    """
    script = Path(sys.argv[0])
    if script.name == "__main__.py" and script.parent.name == "genlip":
        return shlex.join([sys.orig_argv[0], "-m", "genlip"])
    if script.stem != "genlip" or not script.is_file():
        return "genlip"
    found = shutil.which("genlip")
    return "genlip" if found and script.samefile(found) else shlex.quote(sys.argv[0])


class HarmlessFormatter(logging.Formatter):
    """A record as one line, and a traceback below it, without what a terminal would obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The message alone."""
        return _one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The message and what follows it."""
        return harmless(super().format(record))


def open_streams() -> None:
    """Let standard output and error take every character; where one is closed, what is told to it is dropped.

    Otherwise a table of captions would be lost to a terminal of ASCII, and a file opened later would get the closed one's
    number, and with it what is written there.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf8"))  # noqa: PTH123, SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reader_is_gone() -> bool:
    """After a broken pipe: has the reader of our output, such as `head`, seen enough? Then what is left is dropped."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
    for stream in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(gone)


def _is_broken(stream: TextIO) -> bool:
    """Is it a pipe that nobody reads?"""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # no file of the system
        return False
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(found & select.POLLERR for _, found in poll.poll(0))


def _one_line(text: str) -> str:
    return harmless(" ".join(text.splitlines()))
