"""Near twins: how many drawings for tests look like one for training, though their names differ.

    pip install imagehash
    python examples/print_and_pictures/near_twins.py runs/print_and_pictures/pictures

Names are split, not drawings, and a drawing may be in several sets under several names. Two drawings are near twins if their
perceptual hashes (64 bits; pHash of the library imagehash) differ in at most 4 bits; the hash of the negative counts too,
since ink and ground are chosen at random. The report is written to PICTURES/near_twins.json: number and share by part, and
the names of each pair.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps

MOST_BITS, _ROWS = 4, 256
TESTS = ("valid", "test", "style")


def hashes(folder: Path) -> tuple[list[str], np.ndarray]:
    """Key and caption of each drawing, and UInt64[N, 2]: the hashes of it and of its negative."""
    names, found = [], []
    for name, image in _images(folder):
        names.append(name)
        found.append([_number(imagehash.phash(one)) for one in (image, ImageOps.invert(image))])
    return names, np.array(found, np.uint64).reshape(-1, 2)


def _images(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            image = Image.new("L", (1, 1))
            for member in archive:  # picture, then text
                opened = archive.extractfile(member)
                if opened and member.name.endswith(".png"):
                    image = Image.open(io.BytesIO(opened.read())).convert("L")
                elif opened and member.name.endswith(".txt"):
                    yield f"{member.name.removesuffix('.txt')}: {opened.read().decode('utf8')}", image


def _number(found: imagehash.ImageHash) -> int:
    return int("".join("01"[int(bit)] for bit in found.hash.ravel()), 2)


def nearest(tests: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of UInt64[T, 2] the least number of bits to any of UInt64[N, 2], and which one that is."""
    bits, which = [], []
    for start in range(0, len(tests), _ROWS):
        rows = tests[start : start + _ROWS]
        apart = np.minimum(*(np.bitwise_count(rows[:, one, None] ^ train[None, :, 0]) for one in (0, 1)))
        which.append(apart.argmin(1))
        bits.append(apart.min(1))
    return np.concatenate(bits), np.concatenate(which)


def main() -> None:
    """Compare, print the shares, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of the drawings, OUT/pictures")
    folder = parser.parse_args().pictures
    train_names, train = hashes(folder / "train")
    report = {}
    for part in TESTS:
        names, tests = hashes(folder / part)
        bits, which = nearest(tests, train)
        twins = np.flatnonzero(bits <= MOST_BITS).tolist()
        pairs = {names[place]: train_names[which[place]] for place in twins}
        report[part] = {"drawings": len(names), "near_twins": len(twins), "pairs": pairs}
        print(f"{part}: {len(twins)} of {len(names)} drawings ({len(twins) / len(names):.1%}) have a near twin in train")
    (folder / "near_twins.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), "utf8")


if __name__ == "__main__":
    main()
