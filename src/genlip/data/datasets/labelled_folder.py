"""Labelled folders: images in a folder per class, as ImageNet and torchvision's ImageFolder have them.

In: FOLDER/<class>/**/*.jpg. Out: `LabelledFiles`. The sorted names of the class folders are the labels 0, 1, …; hidden
folders and `__MACOSX` are not classes. Also the published validation images of ImageNet: one flat folder, and in it or above
it the file LOC_val_solution.csv with the class of each image.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genlip.data.datasets.base import Labelled
from genlip.data.datasets.class_names import keyed_classes
from genlip.data.examples import short_repr
from genlip.data.file_search import subfolders, walk
from genlip.model.files import printable
from genlip.model.reading import read_text

__all__ = ["LabelledFiles", "open_labelled_folder"]

log = logging.getLogger(__name__)

_SOLUTION = "LOC_val_solution.csv"


@dataclass(frozen=True, eq=False, repr=False)
class LabelledFiles:
    """Image files of known classes.

    Attributes:
        name: of the set.
        folder: with the images.
        files: paths in the folder, which are the keys. Strings, since a million path objects need too much memory.
        labels: Int[n].
        classes: in words.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Labelled:
        if not 0 <= index < len(self):  # this also ends a `for` loop over them
            raise IndexError(f"{self.name}: image {index} of {len(self)}")
        return Labelled(printable(self.files[index]), self.folder / self.files[index], int(self.labels[index]))


def open_labelled_folder(folder: Path, classes: str = "") -> LabelledFiles:
    """The images of a folder of class folders.

    classes  see `keyed_classes`; default: words from the folder names

    Raises ValueError if there are no class folders, or one has no images or no name.
    """
    keys = subfolders(folder)
    if not keys:
        return _open_flat(folder, classes)
    files: list[str] = []
    counts: list[int] = []
    for key in keys:
        walked = walk(folder / key)
        images = _relative(walked.images(), folder)
        for note in (*walked.notes(), *walked.unread_pictures()):
            log.warning("%s: %s", printable(str(folder / key)), note)
        if not images:
            raise ValueError(f"{folder / key}: a class folder without images; put some into it, or remove it")
        files += images
        counts.append(len(images))
    names = keyed_classes(classes, keys, f"class folders of {folder}")
    return LabelledFiles(printable(str(folder)), folder, tuple(files), np.repeat(np.arange(len(keys)), counts), names)


def _relative(paths: Iterable[str], folder: Path) -> list[str]:
    """Paths relative to a folder, as strings."""
    return [Path(path).relative_to(folder).as_posix() for path in paths]


# -- one flat folder


def _open_flat(folder: Path, classes: str) -> LabelledFiles:
    """Images of a folder with a table of their classes; the sorted classes are the labels, as with folders."""
    walked = walk(folder)  # it has no subfolders
    files = _relative(walked.images(), folder)
    for note in (*walked.notes(), *walked.unread_pictures()):
        log.warning("%s: %s", printable(str(folder)), note)
    table = next((path / _SOLUTION for path in (folder, *folder.absolute().parents) if (path / _SOLUTION).is_file()), None)
    if not files or table is None:
        raise ValueError(
            f"{folder}: {_found(folder, len(files))}; need a folder of images per class, {folder}/<class>/*.jpg"
        )
    known = _solution(table)
    if unknown := [file for file in files if Path(file).stem not in known]:
        raise ValueError(f"{table}: no row for {unknown[0]} ({len(unknown)} of {len(files)} images of {folder} have none)")
    keys = sorted(set(known.values()))
    label = {key: place for place, key in enumerate(keys)}
    labels = np.array([label[known[Path(file).stem]] for file in files])
    return LabelledFiles(
        printable(str(folder)), folder, tuple(files), labels, keyed_classes(classes, keys, f"classes of {table}")
    )


def _found(folder: Path, images: int) -> str:
    """The content of a folder without class folders, for a message."""
    if tables := len(list(folder.glob("*.parquet"))):
        return f"no class folders but {tables} .parquet files, which '{folder}/*.parquet' would open"
    return f"no class folders, {images} images" + (f" and no {_SOLUTION} here or above" if images else "")


def _solution(table: Path) -> dict[str, str]:
    """Image and class of each row; the class is the first word of a prediction, boxes follow."""
    rows = list(csv.DictReader(io.StringIO(read_text(table))))
    try:
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError):  # no such column, an empty cell, a row that is too short
        raise ValueError(f"{table}: need columns ImageId and PredictionString, with the class first, in every row") from None
