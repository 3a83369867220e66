"""Segmented folders: images, and label maps of the same names beside them.

In: a folder. Out: a `SegmentedSet`.

    FOLDER/images/**             images, in any folders                 FOLDER/images/validation/7.jpg
    FOLDER/annotations/**        label maps (or `labels`, or `masks`)   FOLDER/annotations/validation/7.png
    FOLDER/objectInfo150.txt     of ADE20K alone, its names

A damaged image is skipped, but a map of another size than its image stops the measurement. It means that the two folders do
not belong together, or that images were resized without their maps.

Axes: H, W pixels of an image.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genlip.data.datasets.base import Segmented
from genlip.data.datasets.segmented_maps import MAX_PIXELS, read_labels
from genlip.data.datasets.segmented_names import LabelNames, label_names
from genlip.data.examples import short_repr
from genlip.data.file_search import first_names, suffix_of, walk
from genlip.data.images import decode
from genlip.model.files import expanded, printable

__all__ = ["IMAGES", "MAPS", "SegmentedFolder", "has_label_maps", "open_segmented_folder"]

log = logging.getLogger(__name__)

IMAGES = "images"
MAPS = ("annotations", "labels", "masks")
_LAYOUT = f"FOLDER/{IMAGES} with PNGs of the same names in FOLDER/{MAPS[0]} (or {' or '.join(MAPS[1:])})"


@dataclass(frozen=True, repr=False)
class SegmentedFolder:
    """Images on disk with their label maps.

    Attributes:
        name: as the user named it.
        pairs: paths of each image and its label map.
        labels: names of the classes, and the index of the first.
    """

    name: str
    pairs: Sequence[tuple[str, str]]
    labels: LabelNames

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in words."""
        return self.labels.names

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Segmented:
        """The image, decoded. Raises `ImageError` if either file is damaged, ValueError if their sizes differ."""
        if not 0 <= index < len(self.pairs):
            raise IndexError(f"{self.name}: image {index} of {len(self.pairs)}")
        image, label_map = self.pairs[index]
        picture = decode(image, MAX_PIXELS)
        labels = read_labels(Path(label_map), len(self.labels.names), self.labels.first)
        if labels.shape != (picture.height, picture.width):
            height, width = labels.shape
            raise ValueError(
                f"{label_map}: {width}x{height} pixels, but its image {image} has {picture.width}x{picture.height}, "
                "upright; need one size: resize neither or both"
            )
        return Segmented(printable(image), picture, labels)


def has_label_maps(folder: Path) -> bool:
    """Whether a folder has the layout for `open_segmented_folder`."""
    placed = _placed(folder)
    return placed is not None and _maps(placed[0]) is not None


def open_segmented_folder(spec: str, classes: str = "") -> SegmentedFolder:
    """The images of FOLDER, or of a folder within FOLDER/images, in order of their paths.

    classes  names in the order of labels; "" takes ADE20K's table. See `genlip.data.datasets.segmented_names`.

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    path = expanded(spec)
    if not path.is_dir():
        raise FileNotFoundError(f"{spec}: no such folder; need {_LAYOUT}, or 'scenes:1'")
    placed = _placed(path)
    if placed is None:
        raise ValueError(f"{spec}: holds no {IMAGES}, and is not in a folder of that name; need {_LAYOUT}")
    folder, part = placed
    maps = _maps(folder)
    if maps is None:
        raise ValueError(f"{spec}: no {', '.join(MAPS)} in {folder}; need {_LAYOUT}")
    return SegmentedFolder(spec, _pairs(spec, folder / IMAGES, part, maps), label_names(classes, folder))


def _placed(path: Path) -> tuple[Path, Path] | None:
    """FOLDER, and the chosen part of its images, relative to FOLDER/images; None if there is no such folder."""
    if (path / IMAGES).is_dir():
        return path, Path()
    within = (place for place in (path, *path.parents) if place.name == IMAGES)
    return next(((place.parent, path.relative_to(place)) for place in within), None)


def _maps(folder: Path) -> Path | None:
    return next((folder / name for name in MAPS if (folder / name).is_dir()), None)


def _pairs(spec: str, images: Path, part: Path, maps: Path) -> list[tuple[str, str]]:
    """Paths of images and their maps; images without a map are left out and counted in the log."""
    walked, of_maps = walk(images / part), walk(maps / part)
    found = [Path(path) for path in walked.images()]
    known = {Path(path).relative_to(maps).with_suffix(""): path for path in of_maps.files if suffix_of(path) == ".png"}
    stems = [path.relative_to(images).with_suffix("") for path in found]
    pairs = [(str(path), known[stem]) for path, stem in zip(found, stems, strict=True) if stem in known]
    for note in (*walked.notes(), *walked.unread_pictures(), *of_maps.notes()):
        log.warning("%s: %s", printable(spec), note)
    if not pairs:
        raise ValueError(
            f"{spec}: {len(found)} images in {images / part} and {len(known)} .png in {maps / part}, none of the same name; "
            f"need {_LAYOUT}"
        )
    if len(pairs) < len(found):
        bare = [str(path) for path, stem in zip(found, stems, strict=True) if stem not in known]
        log.warning(
            "%s: %d of %d images have no label map, and are left out: %s",
            printable(spec), len(bare), len(found), first_names(bare),
        )  # fmt: skip
    if alone := [path for stem, path in known.items() if stem not in set(stems)]:
        log.warning("%s: %d label maps have no image, and are left out: %s", printable(spec), len(alone), first_names(alone))
    return pairs
