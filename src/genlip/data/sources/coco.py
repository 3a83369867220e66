"""COCO: caption files of benchmarks, one JSON object with a list of images and a list of captions.

In: a file of COCO, NoCaps or TextCaps, and the folder of its images. Out: `Files`, one example per image. Its caption is
a choice among all its captions, with equal probabilities: training reads one of them, scores use all.

    COCO, NoCaps   {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
    TextCaps       {"data": [{"image_id", "caption_str" or "reference_strs"}]}     its images are IMAGE_ID.jpg

The files do not name the folder of the images: a folder is used if it contains one of the first images.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genlip.data.examples import Caption, Unusable
from genlip.data.file_search import first_names
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.tables import Files, check_inside
from genlip.model.fields import shown
from genlip.model.files import expanded, printable
from genlip.model.reading import MAX_TEXT_BYTES, read_json
from genlip.model.weights import some

__all__ = ["holds_object", "open_captions"]

log = logging.getLogger(__name__)

_READ = CaptionFields({"captions": 1.0})
_LOOKED_FOR = 100  # one of so many images must exist
_SPLIT = re.compile(r"captions_(\w+)\.json")  # COCO's files: annotations/captions_val2017.json, images in val2017


def holds_object(file: str) -> bool:
    """Whether a JSON file holds an object, as captions files do, and not a list of rows."""
    with Path(file).open("rb") as opened:
        return opened.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def open_captions(files: Sequence[str], images: str, name: str, allow_outside: bool = False) -> Files:
    """The images of one or several caption files with all their captions.

    images         their folder; "" looks beside each file, and for "captions_SPLIT.json" in ../SPLIT and SPLIT
    allow_outside  also read images that a file names outside that folder

    Raises ValueError for a file of another form or without captions, FileNotFoundError if no image is found.
    """
    notes: list[str] = []
    rows = [row for file in map(Path, files) for row in _rows(file, images, allow_outside, notes)]
    for note in notes:
        log.warning("%s", note)
    return Files([path for path, _ in rows], [caption for _, caption in rows], printable(name), notes)


def _rows(file: Path, images: str, allow_outside: bool, notes: list[str]) -> Iterator[tuple[str, Caption | Unusable]]:
    """Path and caption of each image that has any."""
    captions = _captions(file, notes)
    captioned = {image: texts for image, texts in captions.items() if any(text.strip() for text in texts)}
    if not captioned:
        raise ValueError(f"{file}: {len(captions)} images without captions; a test set without references cannot be read")
    if len(captioned) < len(captions):
        bare = [image for image in captions if image not in captioned]
        notes.append(f"{file}: {len(bare)} of {len(captions)} images have no caption, and are left out: {first_names(bare)}")
    if not allow_outside:
        for image in captions:
            check_inside(expanded(images) if images else file.parent, image, str(file))
    folder = _folder(file, images, list(captioned)[:_LOOKED_FOR])
    for image, texts in captioned.items():
        yield str(folder / image), _READ.read_or_reason({"captions": texts})


def _captions(file: Path, notes: list[str]) -> dict[str, list[str]]:
    """The captions of each image by its file name, in the order of the file."""
    stored = read_json(file, MAX_TEXT_BYTES)
    if isinstance(stored, dict) and {"images", "annotations"} <= stored.keys():
        return _coco(file, stored, notes)
    if isinstance(stored, dict) and "data" in stored:
        return _textcaps(file, stored)
    keys = some([shown(key) for key in stored]) or "nothing" if isinstance(stored, dict) else ""
    found = f"an object with {keys}" if keys else "no object"
    raise ValueError(
        f"{file}: found {found}; need a list of objects with path and caption, COCO's object with `images` and "
        "`annotations`, or TextCaps' with `data`"
    )


def _coco(file: Path, stored: Mapping[str, Any], notes: list[str]) -> dict[str, list[str]]:
    names: dict[int | str, str] = {}
    for row in _listed(file, stored, "images", {"id": (int, str), "file_name": str}):
        if (other := names.setdefault(row["id"], row["file_name"])) != row["file_name"]:
            both = f"{shown(other)} and {shown(row['file_name'])}"
            raise ValueError(f"{file}: the images {both} have the same id {shown(row['id'])}")
    captions: dict[str, list[str]] = {name: [] for name in names.values()}
    lost = 0
    for row in _listed(file, stored, "annotations", {"image_id": (int, str), "caption": str}):
        if row["image_id"] in names:
            captions[names[row["image_id"]]].append(row["caption"])
        else:
            lost += 1
    if lost:
        notes.append(f"{file}: {lost} captions are of images that it does not list, and are left out")
    return captions


def _textcaps(file: Path, stored: Mapping[str, Any]) -> dict[str, list[str]]:
    """The references in an entry of the image, if any; else the captions of all its entries."""
    references: dict[str, list[str]] = {}
    captions: dict[str, list[str]] = {}
    for row in _listed(file, stored, "data", {"image_id": (int, str)}):
        name, some = f"{row['image_id']}.jpg", row.get("reference_strs")
        captions.setdefault(name, []).append(str(row.get("caption_str") or ""))
        if isinstance(some, list) and some:
            references[name] = [str(text) for text in some]
    return {name: references.get(name, texts) for name, texts in captions.items()}


def _listed(file: Path, stored: Mapping[str, Any], key: str, needed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list at a key. Raises ValueError for an entry that is not an object with the needed fields and types."""
    rows = stored[key]
    if not isinstance(rows, list):
        raise ValueError(f"{file}: {key} is {type(rows).__name__}, need a list of objects with {', '.join(needed)}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not all(isinstance(row.get(field), kind) for field, kind in needed.items()):
            raise ValueError(f"{file}: {key}, entry {number} is {shown(row)}; need an object with {', '.join(needed)}")
    return rows


def _folder(file: Path, images: str, names: Sequence[str]) -> Path:
    """The folder that holds one of these images."""
    split = _SPLIT.fullmatch(file.name)
    places = [file.parent.parent / split[1], file.parent / split[1]] if split else []
    looked = [expanded(images)] if images else [file.parent, *places]
    if images and not looked[0].is_dir():
        raise FileNotFoundError(f"{file}: its images are said to be in {images}, and there is no such folder")
    for folder in looked:
        if any((folder / name).is_file() for name in names):
            return folder
    raise FileNotFoundError(
        f"{file}: no {names[0]}, nor any of its first {len(names)} images, in {' or '.join(map(str, looked))}; "
        "name the folder of its images (images=, --image-folder, in a mixture `images`)"
    )
