"""Common names: the names that most drawings have -> shards of many drawings of each, and of some that are kept aside.

In: the npm package of `pictures.py`. Out: OUT/common/train.tar and OUT/common/valid.tar, of the names for training that
`LEAST` drawings or more have. `pictures.py` takes at most 12 drawings of a name, so that most names are of a few drawings;
from those no model this small learns what a name looks like. Here a name trains with up to `MOST` drawings.

Every eighth drawing after the twelfth is kept aside (`kept_aside`). Those that look like a drawing for training of the same
name are left out: sets copy each other. Half of the others are in `valid`; `drawing_tests.py` takes the other half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import imagehash
from pictures import MOST_OF_NAME, Drawing, by_concept, caption_of, drawn
from PIL import Image, ImageOps
from shards import Captioned, count_samples, part_of, write_shard

LEAST, MOST, SAME_BITS = 30, 64, 6


def common_names(icons: Path) -> dict[str, list[Drawing]]:
    """The drawings of each common name that is for training."""
    found = by_concept(icons)
    return {concept: some for concept, some in found.items() if part_of(concept) == "train" and len(some) >= LEAST}


def for_training(some: Sequence[Drawing]) -> list[Drawing]:
    """Those of a name that are trained on."""
    return [one for number, one in enumerate(some) if not _aside(number)][:MOST]


def kept_aside(some: Sequence[Drawing]) -> list[Image.Image]:
    """Those of a name that are not, and look like none that is, nor like its negative: colours are chosen at random."""
    trained = [drawn(one).convert("L") for one in for_training(some)]
    seen = [imagehash.phash(image) for one in trained for image in (one, ImageOps.invert(one))]
    others = (drawn(one) for number, one in enumerate(some) if _aside(number))
    return [image for image in others if min(imagehash.phash(image.convert("L")) - one for one in seen) > SAME_BITS]


def _aside(number: int) -> bool:
    return number >= MOST_OF_NAME and number % 8 == 4


def write_common(icons: Path, out: Path) -> dict[str, int]:
    """Write the shards that are not there. Returns the number of samples of each."""
    shards = {part: out / "common" / f"{part}.tar" for part in ("train", "valid")}
    if not all(shard.is_file() for shard in shards.values()):
        names = common_names(icons)
        for part, shard in shards.items():
            write_shard(shard, _samples(part, names))
    return {part: count_samples(shard) for part, shard in shards.items()}


def _samples(part: str, names: dict[str, list[Drawing]]) -> Iterator[Captioned]:
    for concept, some in sorted(names.items()):
        name = max(sorted(captions := [caption_of(one.name) for one in some]), key=captions.count)
        images: Iterable[Image.Image] = map(drawn, for_training(some)) if part == "train" else kept_aside(some)[::2]
        for number, image in enumerate(images):
            yield Captioned(f"{concept.replace(' ', '_')}-{number:03}", image, name, {"name": name})
