"""File search: a folder or a pattern -> its files; the only place that searches for data on disk.

In: a folder. Out: its files, those of subfolders and of folders that links lead to, each folder once. Names that begin with
    a dot are ignored (macOS keeps `._a.jpg` beside `a.jpg`, Jupyter `.ipynb_checkpoints`), and so are folders that systems
    create (`__MACOSX`, `@eaDir` with thumbnails, `lost+found`). Everything else that is not a file is reported.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from genlip.data.images import IMAGE_SUFFIXES
from genlip.model.files import check_regular, expanded, printable

__all__ = ["Walked", "files_of", "first_names", "image_files", "is_hidden", "subfolders", "suffix_of", "walk"]

# Of archives of macOS, of Synology, of Linux and of Windows.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
# Formats that hold pictures and are not read.
_PICTURES = (
    ".svg", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".ai", ".eps", ".pdf", ".ico", ".icns", ".tga", ".dds",
    ".exr", ".hdr", ".pcx", ".xcf", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".fits", ".dcm",
    ".dib", ".qoi", ".xpm", ".xbm",
)  # fmt: skip


class Walked(NamedTuple):
    """The content of a folder.

    Attributes:
        files: paths of regular files, as strings, sorted by folder names and file name.
        odd: paths of broken links, named pipes and devices.
        again: folders that were already reached on another path, for example by links that lead back.
    """

    files: list[str]
    odd: list[str]
    again: list[str]

    def notes(self) -> list[str]:
        """A line for each kind of path that is left out, whatever the purpose of the files."""
        odd = [path for path in self.odd if suffix_of(path) in (*IMAGE_SUFFIXES, ".txt", "")]
        counted = [
            (odd, "broken links or special files are left out"),
            (self.again, "links lead to folders that were already read"),
        ]
        return [f"{len(found)} {what}: {first_names(found)}" for found, what in counted if found]

    def images(self) -> list[str]:
        """The files whose suffix is that of an image format that is read."""
        return [path for path in self.files if suffix_of(path) in IMAGE_SUFFIXES]

    def unread_pictures(self) -> list[str]:
        """A line about images in formats that are not read, if there are any."""
        found = [path for path in self.files if suffix_of(path) in _PICTURES]
        kinds = ", ".join(sorted({suffix_of(path) for path in found}))
        return (
            [f"{len(found)} files of formats that are not read ({kinds}) are left out: {first_names(found)}"]
            if found
            else []
        )


def walk(folder: str | os.PathLike[str]) -> Walked:
    """All files in a folder and below. Raises OSError where a folder cannot be read."""
    walked, seen = Walked([], [], []), set[tuple[int, int]]()
    folders, links = [os.fspath(folder)], list[str]()
    while folders or links:  # links last: a target inside the folder keeps its own path
        here = folders.pop() if folders else links.pop()
        status = os.stat(here)  # noqa: PTH116  strings: a million path objects need too much memory
        if (status.st_dev, status.st_ino) in seen:
            walked.again.append(here)
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
                if is_hidden(entry.name):
                    continue
                is_file, is_folder = _kind(entry)
                if is_folder:
                    (links if entry.is_symlink() else folders).append(entry.path)
                else:
                    (walked.files if is_file else walked.odd).append(entry.path)
    for found in walked:
        found.sort(key=lambda path: path.split(os.sep))  # noqa: PTH206
    return walked


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether an entry is, or leads to, a regular file or a folder."""
    try:
        return entry.is_file(), entry.is_dir()
    except OSError:  # a link to itself
        return False, False


def is_hidden(name: str) -> bool:
    """Whether `walk` ignores files and folders of this name."""
    return name.startswith(".") or name in _OF_SYSTEMS


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if not is_hidden(entry.name) and entry.is_dir())


def suffix_of(path: str) -> str:
    """The suffix of a name, in lower case and with its dot."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122


def first_names(paths: Sequence[str], limit: int = 3) -> str:
    """The first file names of several paths, for messages."""
    names = [printable(Path(path).name) for path in paths[:limit]]
    return ", ".join(names) + (", …" if len(paths) > limit else "")


def files_of(pattern: str) -> list[str]:
    """The files of a local path or glob, sorted; an empty list if there are none. An existing path is returned as it is.

    `[` begins a set of letters in a glob; if nothing matches, it is taken literally. Raises ValueError for a named pipe, a
    device or a socket.
    """
    pattern = str(expanded(pattern)) if pattern.startswith("~") else pattern
    if os.path.isdir(pattern):  # noqa: PTH112
        return [pattern]
    if os.path.exists(pattern):  # noqa: PTH110
        check_regular(pattern)
        return [pattern]
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207  Path.glob follows no absolute pattern
    found = found or glob.glob(pattern.replace("[", "[[]"), recursive=True)  # noqa: PTH207
    files = sorted(path for path in found if not os.path.isdir(path))  # noqa: PTH112
    for path in files:
        check_regular(path)
    return files


def _no_such(pattern: str) -> str:
    kind = "file" if Path(pattern).suffix else "file or folder"
    return f"no such {'folder' if pattern.endswith('/') else kind}"


def image_files(patterns: Iterable[str]) -> tuple[list[str], list[str]]:
    """The image files of paths, folders and globs, in order, each once; and a line for each kind of file that is left out.

    Raises FileNotFoundError for a pattern without any.
    """
    found: dict[str, None] = {}
    notes: list[str] = []
    for pattern in patterns:
        folder = expanded(pattern)
        if folder.is_dir():
            walked = walk(folder)
            inside = walked.images()
            notes += [f"{printable(pattern)}: {note}" for note in (*walked.notes(), *walked.unread_pictures())]
        else:
            inside = files_of(pattern)
        if not inside:
            raise FileNotFoundError(
                f"{printable(pattern)}: {'no images in this folder' if folder.is_dir() else _no_such(pattern)}"
            )
        found |= dict.fromkeys(inside)
    return list(found), notes
