"""Drawing tests: drawings in folders by name, to measure a model that has learned these names on other drawings.

In: the npm packages of `pictures.py`. Out: OUT/named/{train,variants,style}/NAME/*.png, of `NAMES` names.

    train      drawings that the model was trained on; a linear probe learns from them
    variants   drawings of these names that no shard holds: a name trains with `MOST_OF_NAME` at most. Those whose perceptual
               hash is within `SAME_BITS` bits of a drawing for training of this name are left out: sets copy each other
    style      pictures of fluent-emoji-3d, a style that no shard for training holds
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import imagehash
from pictures import MOST_OF_NAME, by_concept, caption_of, concept_of, drawn, styled
from PIL import Image, ImageOps
from shards import part_of

NAMES, VARIANTS, SAME_BITS = 256, 4, 6


def write_named(icons: Path, emoji: Path, out: Path) -> Counter[str]:
    """Write the folders unless they are there. Returns the number of pictures of each."""
    target = out / "named"
    if not target.is_dir():
        partial = out / ".named.part"
        shutil.rmtree(partial, ignore_errors=True)
        for part, name, image in _pictures(icons, emoji):
            folder = partial / part / name
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{len(list(folder.iterdir())):03}.png")
        partial.rename(target)
    return Counter({part.name: len(list(part.rglob("*.png"))) for part in sorted(target.iterdir())})


def _unlike(trained: list[Image.Image], others: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """The drawings that look like none for training, nor like its negative: ink and ground are chosen at random."""
    seen = [imagehash.phash(image) for one in trained for image in (one.convert("L"), ImageOps.invert(one.convert("L")))]
    return (image for image in others if min(imagehash.phash(image.convert("L")) - one for one in seen) > SAME_BITS)


def _pictures(icons: Path, emoji: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Part, name and picture of the names of which there are enough drawings."""
    in_style = defaultdict(list)
    for one in styled(emoji, icons):
        in_style[concept_of(one.caption)].append(one.image)
    concepts = by_concept(icons)
    enough = [
        concept for concept, some in concepts.items()
        if part_of(concept) == "train" and len(some) >= MOST_OF_NAME + VARIANTS and concept in in_style
    ]  # fmt: skip
    for concept in sorted(enough, key=lambda one: hashlib.sha256(one.encode()).digest())[:NAMES]:
        some = concepts[concept]
        name = Counter(caption_of(one.name) for one in some).most_common(1)[0][0]
        trained = [drawn(drawing) for drawing in some[:MOST_OF_NAME]]
        yield from (("train", name, image) for image in trained)
        others = (drawn(drawing) for drawing in some[MOST_OF_NAME:])
        yield from (("variants", name, image) for image in islice(_unlike(trained, others), VARIANTS))
        for image in in_style[concept]:
            yield "style", name, image
