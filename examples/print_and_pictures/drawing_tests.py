"""Drawing tests: drawings in folders by name, to measure a model that has learned these names on other drawings.

In: the npm packages of `pictures.py`. Out: OUT/named/{train,variants,style}/NAME/*.png, of `NAMES` names.

    train      drawings that the model was trained on; a linear probe learns from them
    variants   drawings of these names that no shard holds: a name trains with `MOST_OF_NAME` at most
    style      pictures of fluent-emoji-3d, a style that no shard for training holds
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from pictures import MOST_OF_NAME, by_concept, caption_of, concept_of, drawn, styled
from PIL import Image
from shards import part_of

NAMES, VARIANTS = 256, 4


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
        for place, drawing in enumerate(some[: MOST_OF_NAME + VARIANTS]):
            yield "train" if place < MOST_OF_NAME else "variants", name, drawn(drawing)
        for image in in_style[concept]:
            yield "style", name, image
