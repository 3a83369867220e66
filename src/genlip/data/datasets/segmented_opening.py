"""Opening: the path of a segmented set -> the set, or a set with known objects.

A folder holds `images` and `annotations`, `labels` or `masks`; the regions of "scenes:SEED" are known from the drawing. See
`genlip.data.datasets.segmented_folder` for what label maps must be.
"""

from __future__ import annotations

from genlip.data.datasets.base import SegmentedSet
from genlip.data.datasets.regions import NamedRegions, NamedSet
from genlip.data.datasets.segmented_folder import open_segmented_folder
from genlip.data.datasets.segmented_scenes import NamedScenes, SegmentedScenes
from genlip.data.sources.procedural import Procedural, is_procedural

__all__ = ["open_named", "open_segmented"]


def open_segmented(spec: str, classes: str = "") -> SegmentedSet:
    """Open images with a class at each pixel by the path of a set.

    "scenes" or "scenes:7"     drawn scenes: background, circle, square, triangle, number
    FOLDER                     all of FOLDER/images, with label maps of the same names in FOLDER/annotations (labels, masks)
    FOLDER/images/validation   a part of them, as ADE20K is published: ADEChallengeData2016/images/validation

    classes  names in the order of the labels: a text file with one per line, or "wall,building,sky"; for
             ADE20K, objectInfo150.txt is found by itself

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    if is_procedural(spec):
        if classes:
            raise ValueError(f"{spec}: has classes of its own, so classes {classes!r} would be lost; leave them out")
        return SegmentedScenes(_scenes(spec))
    return open_segmented_folder(spec, classes)


def open_named(spec: str, classes: str = "") -> NamedSet:
    """Open images with known objects: scenes with each shape and number, or any segmented set; see `open_segmented`."""
    if is_procedural(spec) and not classes:
        return NamedScenes(_scenes(spec))
    return NamedRegions(open_segmented(spec, classes))


def _scenes(spec: str) -> Procedural:
    source = Procedural.open(spec)
    if source.kind != "scenes":
        raise ValueError(f"{spec}: has no label maps; of drawn images scenes alone do, as in 'scenes:1'")
    return source
