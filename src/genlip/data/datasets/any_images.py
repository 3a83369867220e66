"""Any images: the path of any set -> its images, with objects, labels or captions if there are any.

For measurements that need only images, and report more if objects are known: readout and views of features.
"""

from __future__ import annotations

from pathlib import Path

from genlip.data.datasets.base import LabelledSet
from genlip.data.datasets.opening import open_labelled
from genlip.data.datasets.regions import NamedSet
from genlip.data.datasets.segmented_folder import has_label_maps
from genlip.data.datasets.segmented_opening import open_named
from genlip.data.file_search import Walked, walk
from genlip.data.sources import Files, Source, open_source
from genlip.data.sources.tables import has_captions
from genlip.model.files import expanded, printable

__all__ = ["open_any"]


def open_any(
    spec: str, classes: str = "", fields: str = "", images: str = "", allow_outside: bool = False
) -> NamedSet | LabelledSet | Source:
    """Open images by the path or name of a set.

    scenes, and folders with label maps, give objects (`open_named`); idx files, and folders of class folders, are read as
    labelled sets; a folder of images only is taken as it is; everything else as captioned images (`open_source`,
    which takes `fields`, `images` and `allow_outside`).

    Raises ValueError for an option that has no effect on this kind of set, and what these functions raise.
    """
    path = expanded(spec)
    if spec.partition(":")[0] == "scenes" or (path.is_dir() and has_label_maps(path)):
        _refuse(spec, fields=fields, images=images)
        return open_named(spec, classes)
    walked = walk(path) if path.is_dir() else Walked([], [], [])
    found = walked.images()
    if "-ubyte" in path.name or (found and not has_captions(walked)):
        _refuse(spec, fields=fields, images=images)
        if classes or not found or any(Path(p).parent != path for p in found):
            return open_labelled(spec, classes)
        return Files(found, [""] * len(found), printable(spec), [*walked.notes(), *walked.unread_pictures()])
    _refuse(spec, classes=classes)
    return open_source(spec, fields, images, allow_outside)


def _refuse(spec: str, **unused: str) -> None:
    for option, value in unused.items():
        if value:
            raise ValueError(f"{spec}: {option} {value!r} would be lost on a set of this form; leave it out")
