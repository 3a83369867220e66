"""Pictures: drawings of icon sets -> shards of pictures with their names.

In: the npm packages @iconify/json (drawings as SVG, by set and name) and @lobehub/fluent-emoji-3d (pictures by code point).
Out: OUT/pictures/{train,valid,test,style}/SET.tar

A drawing's name is its caption, without words for its style, skin tone and number. Names are split, not drawings: a name in
`test` is in no set for training. All of fluent-emoji-3d is in `style`: names that training has, in a style that it has not.
Sets whose licence forbids commercial use are left out, those whose names are codes, and Fluent Emoji in other styles.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image, ImageColor
from shards import Captioned, part_of, write_shard

SIDE = 128  # pixels
SAME_ARTWORK = "fluent-emoji"  # sets whose names begin so show the drawings of the style that is kept aside
CODES = frozenset({"flag", "circle-flags", "flagpack", "cif", "token-branded", "cryptocurrency-color", "selfhst"})
_STYLE = frozenset(
    re.findall(
        r"\w+",
        "outline outlined filled fill solid line linear bold light thin regular duotone twotone two tone broken bulk "
        "rounded round sharp flat color colour alt variant icon remix streamline mini micro 1x1 4x3 rtl ltr",
    )
)
_SKIN = re.compile(r"\b(medium[ -]light|medium[ -]dark|medium|light|dark)\b([ -]skin[ -]tone)?$|[ -]skin[ -]tone")
MOST_WORDS = 5  # of a name
LEAST_OF_NAME, MOST_OF_NAME = 4, 12  # drawings of a name


@dataclass(frozen=True)
class Drawing:
    """An SVG by its set and name; `plain` has one colour, which is chosen when it is drawn."""

    collection: str
    name: str
    svg: str
    plain: bool


def caption_of(name: str) -> str:
    """'woman-fairy-medium-dark-skin-tone' -> 'woman fairy'; empty for a name that says nothing."""
    text = name.replace("-", " ").replace("_", " ").lower()
    while (shorter := _SKIN.sub("", text).strip()) != text:
        text = shorter
    words = [word for word in text.split() if word not in _STYLE and not re.fullmatch(r"[0-9]+[a-z]{0,2}|[a-z]", word)]
    said = " ".join(words)
    return said if 1 <= len(words) <= MOST_WORDS and re.search("[a-z]{3}", said) else ""


def concept_of(caption: str) -> str:
    """Equal for names of the same words: what is split."""
    return " ".join(sorted(word.removesuffix("s") if len(word) > 3 else word for word in caption.split()))


def drawings(folder: Path) -> Iterator[Drawing]:
    """The drawings of @iconify/json that may be used."""
    collections = json.loads((folder / "package/collections.json").read_text("utf8"))
    for collection, info in collections.items():
        not_free = "NC" in info["license"].get("spdx", "NC")
        if not_free or collection in CODES or collection.startswith(SAME_ARTWORK):
            continue
        stored = json.loads((folder / f"package/json/{collection}.json").read_text("utf8"))
        for name, icon in stored["icons"].items():
            if not icon.get("hidden"):
                yield Drawing(collection, name, _svg(icon, stored), not info.get("palette"))


def _svg(icon: dict[str, Any], stored: dict[str, Any]) -> str:
    left, top, width, height = (
        icon.get(key, stored.get(key, default)) for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    box = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
    return f"<svg {spaces} {box} color='COLOUR'>{icon['body']}</svg>"


def drawn(drawing: Drawing) -> Image.Image:
    """The drawing on a plain ground, both in colours that follow from its name."""
    ink, ground = _colours(f"{drawing.collection}:{drawing.name}", drawing.plain)
    png = resvg_py.svg_to_bytes(
        svg_string=drawing.svg.replace("COLOUR", ink), width=SIDE, height=SIDE, background=ground, skip_system_fonts=True
    )
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")


def _colours(key: str, plain: bool) -> tuple[str, str]:
    """Of ink and ground: a coloured drawing is mostly on white, one in a single colour is often on another."""
    hue, chance, *_ = hashlib.sha256(key.encode()).digest()
    dark, bright = f"hsl({hue * 360 // 256}, 70%, 30%)", f"hsl({(hue * 7 % 256) * 360 // 256}, 50%, 88%)"
    pairs = (("black", "white"), (dark, "white"), ("black", bright), (dark, bright), ("white", dark), ("white", "black"))
    ink, ground = pairs[chance * len(pairs) // 256] if plain else ("black", "white" if chance < 180 else bright)
    return _hex(ink), _hex(ground)


def _hex(colour: str) -> str:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return f"#{red:02x}{green:02x}{blue:02x}"


def write_pictures(folder: Path, out: Path) -> Counter[str]:
    """Write a shard for each icon set and side of the split; those that are there are kept. Returns the number of each side.

    A name that fewer than `LEAST_OF_NAME` drawings have is left out, and of each at most `MOST_OF_NAME` train, taken from as
    many sets as there are.
    """
    chosen, counts = _chosen(folder), Counter[str]()
    for (part, collection), some in sorted(chosen.items()):
        shard = out / part / f"{collection}.tar"
        if not shard.is_file():
            write_shard(shard, map(_sample, some))
        counts[part] += len(some)
    return counts


def _chosen(folder: Path) -> dict[tuple[str, str], list[Drawing]]:
    """The drawings of each side and set."""
    found: dict[tuple[str, str], list[Drawing]] = defaultdict(list)
    for concept, some in by_concept(folder).items():
        for drawing in some[:MOST_OF_NAME]:
            found[part_of(concept), drawing.collection].append(drawing)
    return found


def by_concept(folder: Path) -> dict[str, list[Drawing]]:
    """The drawings of each name: coloured ones first, else in an order without meaning."""
    found: dict[str, list[Drawing]] = defaultdict(list)
    for drawing in drawings(folder):
        if caption := caption_of(drawing.name):
            found[concept_of(caption)].append(drawing)
    return {concept: sorted(some, key=_order) for concept, some in found.items() if len(some) >= LEAST_OF_NAME}


def _order(drawing: Drawing) -> tuple[bool, bytes]:
    return drawing.plain, hashlib.sha256(f"{drawing.collection} {drawing.name}".encode()).digest()


def _sample(drawing: Drawing) -> Captioned:
    facts = {"set": drawing.collection, "name": drawing.name}
    return Captioned(f"{drawing.collection}-{drawing.name}", drawn(drawing), caption_of(drawing.name), facts)


def write_style(emoji: Path, icons: Path, out: Path) -> int:
    """Write the pictures of @lobehub/fluent-emoji-3d whose names the drawings have. Returns their number."""
    return write_shard(out / "style" / "fluent-emoji-3d.tar", styled(emoji, icons))


def styled(emoji: Path, icons: Path) -> Iterator[Captioned]:
    """The pictures of @lobehub/fluent-emoji-3d whose names the drawings have."""
    names = json.loads((icons / "package/json/openmoji.json").read_text("utf8"))["chars"]
    for file in sorted((emoji / "package/assets").glob("*.webp")):
        name = names.get(file.stem) or names.get(file.stem.replace("-fe0f", ""), "")
        if caption := caption_of(name):
            with Image.open(file) as opened:
                image = Image.new("RGB", (SIDE, SIDE), "white")
                small = opened.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            image.paste(small, mask=small.getchannel("A"))
            yield Captioned(file.stem, image, caption, {"set": "fluent-emoji-3d", "name": name})
