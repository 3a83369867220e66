"""Drawing tests: drawings in folders by name, to measure a model that has learned these names on other drawings.

In: the npm packages of `pictures.py`. Out: OUT/named/{train,variants,style}/NAME/*.png, of `NAMES` names.

    train      drawings that the model was trained on; a linear probe learns from them
    variants   drawings of these names that are kept aside, see `common.py`
    style      pictures of fluent-emoji-3d, a style that no shard for training holds
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from common import common_names, for_training, kept_aside
from pictures import caption_of, concept_of, drawn, styled
from PIL import Image

NAMES, TRAIN = 256, 24


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
    """Part, name and picture of common names that the style has, too."""
    in_style = defaultdict(list)
    for one in styled(emoji, icons):
        in_style[concept_of(one.caption)].append(one.image)
    names = {concept: some for concept, some in common_names(icons).items() if concept in in_style}
    written = 0
    for concept in sorted(names, key=lambda one: hashlib.sha256(one.encode()).digest()):
        if written == NAMES:
            return
        some, variants = names[concept], kept_aside(names[concept])[1::2]
        if not variants:  # all kept aside look like one for training
            continue
        written += 1
        name = Counter(caption_of(one.name) for one in some).most_common(1)[0][0]
        yield from (("train", name, drawn(one)) for one in for_training(some)[:TRAIN])
        yield from (("variants", name, image) for image in variants)
        yield from (("style", name, image) for image in in_style[concept])
