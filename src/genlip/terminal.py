"""Terminal: output for people. Control characters are replaced by `harmless`, and streams accept every character.

In: texts, which may contain names of files, captions, keys and generated text. Out: lines on standard output and standard
error, without terminal control sequences. It imports nothing of genlip, so every module may use it.
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

# Control characters except tab and newline, and characters that change the direction of text.
_CONTROL = (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = dict.fromkeys(_CONTROL, "\ufffd") | {byte: f"\\x{byte & 0xFF:02x}" for byte in range(0xDC80, 0xDD00)}
_SHOWN |= {half: f"\\u{half:04x}" for half in range(0xD800, 0xE000) if half not in _SHOWN}
_UNSAFE = re.compile(f"[{''.join(map(chr, _SHOWN))}]")  # one search for all is faster than str.translate


def harmless(text: str) -> str:
    """A text with U+FFFD for each control character, and `\\xe9` for a byte of a name that is not UTF-8."""
    return _UNSAFE.sub(lambda sign: _SHOWN[ord(sign[0])], text)


def say(text: object, end: str = "\n") -> None:
    """Print and flush. An OSError, such as that of a full disk, names standard output."""
    try:
        print(harmless(str(text)), end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python flushes again at exit, and complains
        raise OSError(f"standard output: cannot be written: {error.strerror}") from error


def complain(text: object) -> None:
    """Print a text as one line on standard error, also if it contains newlines."""
    print(f"genlip: {_one_line(str(text))}", file=sys.stderr, flush=True)


def program() -> str:
    """The command that started this process, for hints with commands that work when they are copied.

    `genlip` if it is on the PATH, else the path of the script, as in `.venv/bin/genlip`, or `python -m genlip`. If another
    program calls genlip, it is `genlip`.
    """
    script = Path(sys.argv[0])
    if script.name == "__main__.py" and script.parent.name == "genlip":
        return shlex.join([sys.orig_argv[0], "-m", "genlip"])
    if script.stem != "genlip" or not script.is_file():
        return "genlip"
    found = shutil.which("genlip")
    return "genlip" if found and script.samefile(found) else shlex.quote(sys.argv[0])


class HarmlessFormatter(logging.Formatter):
    """A log record as one line, and a traceback below it, without control characters."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The message on one line."""
        return _one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The message and its traceback."""
        return harmless(super().format(record))


def open_streams() -> None:
    """Let standard output and error accept every character. If one of them is closed, its output is dropped.

    Otherwise an ASCII terminal could not print captions. And the next opened file would get the file descriptor of the
    closed stream, and with it the stream's output.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf8"))  # noqa: PTH123, SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reader_is_gone() -> bool:
    """After a broken pipe: has the reader of our output, such as `head`, closed it? Then the remaining output is dropped."""
    broken = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
    for stream in broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(broken)


def _is_broken(stream: TextIO) -> bool:
    """Is the stream a pipe without a reader?"""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # not a file of the operating system
        return False
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(found & select.POLLERR for _, found in poll.poll(0))


def _one_line(text: str) -> str:
    return harmless(" ".join(text.splitlines()))
