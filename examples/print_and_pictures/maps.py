"""Maps: the maps of Debian's `kgeography-data` -> images with a class at each pixel, as `genlip eval segmentation` reads.

Every pixel of such a map has the colour of its region, and a file says which. Out: OUT/maps/images/{train,test}/*.png, label
maps beside them in `annotations`, and OUT/maps/classes.txt. Classes are `CLASSES`. Colours are chosen anew at random, those
of water too: else a pixel's colour alone would say its class. Split by country. A map gives `COPIES` recoloured ones.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageFilter

CLASSES = ("region", "water", "elsewhere", "border")
COPIES, _SIDE = 4, 256
_WATER, _BORDER = re.compile("water|coast|lake|sea", re.IGNORECASE), re.compile("frontier|border", re.IGNORECASE)


def write_maps(folder: Path, out: Path) -> dict[str, int]:
    """Write the folder unless it is there. Returns the number of images of each part."""
    target = out / "maps"
    if not target.is_dir():
        partial = out / ".maps.part"
        shutil.rmtree(partial, ignore_errors=True)
        for file in sorted((folder / "usr/share/kgeography").glob("*.kgm")):
            country = re.split(r"[_ ]", file.stem)[0]
            part = "test" if hashlib.sha256(country.encode()).digest()[0] < 64 else "train"
            for number, (image, labels) in enumerate(_recoloured(file)):
                for kind, picture in (("images", image), ("annotations", labels)):
                    (partial / kind / part).mkdir(parents=True, exist_ok=True)
                    picture.save(partial / kind / part / f"{file.stem}-{number}.png")
        (partial / "classes.txt").write_text("\n".join(CLASSES) + "\n", "utf8")
        partial.rename(target)
    return {part.name: len(list(part.iterdir())) for part in sorted((target / "images").iterdir())}


def _recoloured(file: Path) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Images in random colours with label maps; labels count from 1."""
    tree, rng = ElementTree.parse(file).getroot(), random.Random(file.stem)
    classes = _classes(tree)
    with Image.open(file.with_name(tree.findtext("mapFile") or "")) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(np.int32)
    colours, places = np.unique(pixels @ (65536, 256, 1), return_inverse=True)
    labels = np.array([classes.get(int(colour), 0) for colour in colours], np.uint8)[places.reshape(pixels.shape[:2])]
    small = Image.fromarray(labels)
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.NEAREST)
    for _ in range(COPIES):
        shared = {label: _colour(rng) for label in range(len(CLASSES) + 1)}  # of all but regions, which differ
        table = [
            _colour(rng) if classes.get(int(colour)) == 1 else shared[classes.get(int(colour), 0)] for colour in colours
        ]
        image = Image.fromarray(np.array(table, np.uint8)[places.reshape(pixels.shape[:2])])
        yield image.filter(ImageFilter.BoxBlur(max(image.size) / _SIDE / 4)).resize(small.size, Image.Resampling.BOX), small


def _classes(tree: ElementTree.Element) -> dict[int, int]:
    """Colour as a number -> label. Only divisions of these colours are printed; other pixels have no class."""
    found = {}
    for division in tree.iter("division"):
        name, colour = division.findtext("name") or "", division.find("color")
        if colour is None:
            continue
        red, green, blue = (int(colour.findtext(part) or 0) for part in ("red", "green", "blue"))
        ignored = (division.findtext("ignore") or "no") == "yes"
        label = 1 if not ignored else 2 if _WATER.search(name) else 4 if _BORDER.search(name) else 3
        found[65536 * red + 256 * green + blue] = label
    return found


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
