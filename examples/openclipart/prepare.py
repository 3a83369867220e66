"""Turn Debian's Open Clip Art packages into images with captions.

In:  the folders of the apt packages openclipart-png and openclipart-svg: `food/fruit/apple.png` is the image,
     `food/fruit/apple.svg` holds its title, author and keywords.
Out: OUT/images/food/fruit/apple.png        RGB over white, at most 256 pixels on the long side
     OUT/train.jsonl and OUT/heldout.jsonl  one {"path": "images/...", "caption": "..."} a line

A caption says what kind of thing is drawn, then which one: "food, fruit: red apple". Kinds come first because
an image tells them: they are folders and keywords that many drawings share, while names are often unique,
misspelt or not English. Near duplicates stay on one side of the split.

    python prepare.py OUT
"""

import argparse
import hashlib
import html
import json
import re
import sys
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TypeVar
from xml.parsers import expat

import numpy as np
from PIL import Image, ImageChops

PNG_FOLDER = Path("/usr/share/openclipart/png")
SVG_FOLDER = Path("/usr/share/openclipart/svg")

SHARED_TITLE = 4  # drawings under one title: it names their collection, unless their file names repeat it
SHARED_KEYWORD = 8  # drawings that must carry a keyword before captions use it
MAX_FOLDERS, MAX_KEYWORDS, MAX_NAME_WORDS = 3, 2, 8
MAX_PER_CAPTION = 50  # 1,375 drawings are star polygons without a name of their own
MAX_HELD_OUT_GROUP = 20  # larger groups of near duplicates always train
MIN_SIDE = 8  # pixels
THUMBNAIL = 16  # pixels a side, for comparing drawings
SAME_COLOURS, SAME_EDGES = 0.98, 0.85  # cosines from which two drawings count as one

DC = "http://purl.org/dc/elements/1.1/}"
CC = "http://web.resource.org/cc/}"
SVG = "http://www.w3.org/2000/svg}"
XLINK = "http://www.w3.org/1999/xlink}"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

COLLECTION = re.compile(r"clipart by|collection|submission|\br\d\d general", re.IGNORECASE)
BLACK_AND_WHITE = re.compile(r"\bb and w\b|\bbw\b")
FOLDER_NAMES = {"signs_and_symbols": "signs", "special": "", "unsorted": "", "duplicates": "", "examples": ""}


def listed(text: str) -> frozenset[str]:
    """'clip art, sign' -> {'clip art', 'sign'}."""
    return frozenset(item.strip() for item in text.split(","))


NAMELESS = listed("a, an, clipart, document, drawing, image, new, noname, test, the, unknown, unnamed, untitled")
FILE_NAME_ENDS = listed("bwh, clipart, ganson, md, openclipart, png, svg, zazou")  # formats and authors' handles
UNHELPFUL_KEYWORDS = listed(  # housekeeping, and what cannot be seen
    "appicon, clip art, clipart, geometry, hash, lemon theme icon, magick, map symbol, mapsym, mime types, "
    "miscellany, musicstuff, musicsym, networksym, openclipart, shape, sign, signs and symbols, special, "
    "subnational, symbol, theme, united nations member, unsorted, weathersym"
)
VARIANTS = listed(  # words that tell copies of one drawing apart
    "and, big, black, blue, brown, color, colored, colour, coloured, cyan, dark, down, gold, gray, green, "
    "grey, large, left, light, magenta, orange, pink, purple, red, right, silver, small, up, violet, white, "
    "yellow"
)

Item, Result = TypeVar("Item"), TypeVar("Result")


class Skip(Exception):
    """A drawing is left out; the message is the reason, by which they are counted."""


@dataclass(frozen=True)
class Drawing:
    """Metadata as the author wrote it; `path` is relative to both folders and has no suffix."""

    path: PurePosixPath
    title: str
    author: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Caption:
    """A caption, and a key that drawings of the same thing share."""

    text: str
    name_key: str


@dataclass(frozen=True)
class Sample:
    """One written image: `path` is relative to OUT, the rest is what near duplicates are found by."""

    path: str
    caption: str
    name_key: str
    colours: np.ndarray
    edges: np.ndarray


Skipped = dict[PurePosixPath, str]  # why each drawing was left out


def keep(
    convert: Callable[[Item], Result], items: dict[PurePosixPath, Item], skipped: Skipped
) -> dict[PurePosixPath, Result]:
    """Convert each item; items that raise Skip go to `skipped` with the reason."""
    kept = {}
    for path, item in items.items():
        try:
            kept[path] = convert(item)
        except Skip as reason:
            skipped[path] = str(reason)
    return kept


# Read: folders -> drawings.


def find_paths(png_folder: Path, svg_folder: Path) -> list[PurePosixPath]:
    """Relative paths, without suffix, of all PNGs; an error that names the packages if there are none."""
    for suffix, folder in (("png", png_folder), ("svg", svg_folder)):
        if next(folder.rglob(f"*.{suffix}"), None) is None:
            remedy = f"run `apt install openclipart-{suffix}` or name their folder with --{suffix}"
            raise FileNotFoundError(f"no .{suffix} files in {folder}; {remedy}")
    return sorted(PurePosixPath(p.relative_to(png_folder).with_suffix("")) for p in png_folder.rglob("*.png"))


def parse_xml(data: bytes) -> ET.Element:
    """A file's bytes -> its root element, tags spelt 'namespace}name'. Entity declarations are refused."""

    def refuse_entity(*_: object) -> None:
        raise Skip("SVG declares XML entities")

    builder = ET.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.EntityDeclHandler = refuse_entity
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Skip("SVG is broken XML") from error
    return builder.close()


def check_drawing(root: ET.Element, work: ET.Element) -> None:
    """Skip an SVG that names another licence, or shows an image file that was never uploaded with it."""
    for licence in work.iter(f"{CC}license"):
        if "public" not in (licence.get(f"{RDF}resource") or "public domain").lower():
            raise Skip("SVG is not in the public domain by its own metadata")
    links = (image.get(f"{XLINK}href", "data:") for image in root.iter(f"{SVG}image"))
    if not all(link.startswith("data:") for link in links):
        raise Skip("SVG shows an image file that it does not bring")


def first_text(elements: Iterable[ET.Element], tag: str) -> str:
    """Text of the first element with this tag, or ''."""
    return next((element.text or "" for element in elements if element.tag == tag), "").strip()


def read_drawing(png_folder: Path, svg_folder: Path, path: PurePosixPath) -> Drawing:
    """What `path`.svg says about itself, unless `path`.png only links to another drawing."""
    if (png_folder / f"{path}.png").is_symlink():
        raise Skip("link to another drawing")
    try:
        root = parse_xml((svg_folder / f"{path}.svg").read_bytes())
    except FileNotFoundError as error:
        raise Skip("no SVG of that name") from error
    work = next(root.iter(f"{CC}Work"), None)
    if work is None:
        raise Skip("SVG has no metadata")
    check_drawing(root, work)
    creators = (field for child in work if child.tag == f"{DC}creator" for field in child.iter())
    keywords = tuple((item.text or "").strip() for item in work.iter(f"{RDF}li"))
    return Drawing(path, first_text(work, f"{DC}title"), first_text(creators, f"{DC}title"), keywords)


# Name: titles and file names -> what is drawn.


def to_words(text: str) -> list[str]:
    """Lower-case ASCII words. Accents are folded; numbers, codes and other scripts fall away.

    'Tigre01' -> tigre; 'arrowRight_b' -> arrow right; 'Lime (Half) (B and W)' -> lime half black and white.
    """
    text = unicodedata.normalize("NFKD", html.unescape(text))
    text = "".join(c for c in text if not unicodedata.combining(c)).replace("'s", "s")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    text = re.sub(r"\S+@\S+", " ", text)
    text, black_and_white = BLACK_AND_WHITE.subn(" ", re.sub(r"[\W_]+", " ", text))
    words = [word.rstrip("0123456789") for word in text.split()]
    words = [word for word in words if re.fullmatch(r"[a-z]{2,}", word) and word not in FILE_NAME_ENDS]
    return words + ["black", "and", "white"] * bool(black_and_white and words)


def without_author(words: Sequence[str], author: str) -> list[str]:
    """Words without the author at their end; file names hold authors cut short: apple nicu bucu -> apple."""
    names, words = to_words(author), list(words)
    while len(words) > 1 and any(name.startswith(words[-1]) for name in names):
        words.pop()
    return words


def is_useful(words: Sequence[str]) -> bool:
    """Does a name hold at least one word of three letters that says something?"""
    return any(len(word) >= 3 and word not in NAMELESS for word in words)


def name_drawing(drawing: Drawing, shared: frozenset[str]) -> list[str]:
    """Words of the title, or of the file name where the title names a collection ('Lemon SVG theme').

    Icons and star polygons were uploaded in hundreds under one title; their file names tell them apart.
    """
    title, stem = (without_author(to_words(t), drawing.author) for t in (drawing.title, drawing.path.name))
    if COLLECTION.search(drawing.title):
        choices = [stem]
    elif drawing.title.lower() in shared and not set(title[:2]) <= set(stem):
        choices = [stem, title]
    else:
        choices = [title, stem]
    for words in choices:
        if is_useful(words):
            return words[:MAX_NAME_WORDS]
    raise Skip("no useful name")


def shared_titles(drawings: Iterable[Drawing]) -> frozenset[str]:
    """Lower-case titles that many drawings carry."""
    counts = Counter(drawing.title.lower() for drawing in drawings)
    return frozenset(title for title, count in counts.items() if count >= SHARED_TITLE)


def singular(word: str) -> str:
    """Close enough for comparing: flowers -> flower."""
    return word.removesuffix("s") if len(word) > 3 else word


def name_key(name: Sequence[str]) -> str:
    """Equal for names that differ in colour, side, plural or order: red buttons, button -> button."""
    return " ".join(sorted({singular(word) for word in name if word not in VARIANTS})) or " ".join(name)


# Caption: drawings and names -> captions.


def clean_keywords(drawing: Drawing) -> set[str]:
    """The drawing's keywords in caption spelling, without its author's name and what cannot be seen."""
    keywords = {" ".join(to_words(keyword)) for keyword in drawing.keywords}
    return keywords - UNHELPFUL_KEYWORDS - {"", " ".join(to_words(drawing.author))}


def folder_kinds(path: PurePosixPath) -> list[str]:
    """signs_and_symbols/flags/europe/france/brittany -> signs, flags, europe."""
    folders = [FOLDER_NAMES.get(folder, " ".join(to_words(folder))) for folder in path.parts[:-1]]
    return [folder for folder in folders if folder][:MAX_FOLDERS]


def is_new(word: str, said: Iterable[str]) -> bool:
    """Is the word neither the start nor a longer form of one said? transport after transportation -> no."""
    return not any(singular(word).startswith(other) or other.startswith(singular(word)) for other in said)


def write_caption(drawing: Drawing, name: Sequence[str], keyword_counts: Counter[str]) -> str:
    """'kind, kind: name'. Keywords follow the folders, the most common first, if they add a word."""
    kinds = folder_kinds(drawing.path)
    most = len(kinds) + MAX_KEYWORDS
    common = [keyword for keyword in clean_keywords(drawing) if keyword_counts[keyword] >= SHARED_KEYWORD]
    for keyword in sorted(common, key=lambda keyword: (-keyword_counts[keyword], keyword)):
        said = [singular(word) for word in " ".join([*kinds, *name]).split()]
        if len(kinds) < most and all(is_new(word, said) for word in keyword.split()):
            kinds.append(keyword)
    if not kinds:
        raise Skip("no folder or shared keyword")
    return f"{', '.join(kinds)}: {' '.join(name)}"


def caption_drawings(drawings: dict[PurePosixPath, Drawing], skipped: Skipped) -> dict[PurePosixPath, Caption]:
    """Drawings by path -> captions by path."""
    titles = shared_titles(drawings.values())
    keyword_counts = Counter(keyword for drawing in drawings.values() for keyword in clean_keywords(drawing))
    used: Counter[str] = Counter()

    def caption(drawing: Drawing) -> Caption:
        name = name_drawing(drawing, titles)
        text = write_caption(drawing, name, keyword_counts)
        used[text] += 1
        if used[text] > MAX_PER_CAPTION:
            raise Skip(f"caption was used {MAX_PER_CAPTION} times")
        return Caption(text, name_key(name))

    return keep(caption, drawings, skipped)


# Draw: PNG -> small RGB image.


def load_image(path: Path, size: int) -> Image.Image:
    """The PNG over white, at most `size` pixels on the long side."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as opened:
                image = opened.convert("RGBA")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Skip("image has too many pixels to open safely") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise Skip("PNG is broken") from error
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image.getchannel("A"))
    if min(canvas.size) < MIN_SIDE:
        raise Skip(f"image is under {MIN_SIDE} pixels")
    if all(low == high for low, high in canvas.getextrema()):
        raise Skip("image is blank")
    return canvas


def thumbnail(image: Image.Image, side: int) -> np.ndarray:
    """Float32[side side 3]: 0 for white, 255 for black; without white margin, stretched to a square."""
    drawn = ImageChops.invert(image).getbbox()
    return 255 - np.asarray(image.resize((side, side), Image.Resampling.BOX, box=drawn), dtype=np.float32)


def unit(values: np.ndarray) -> np.ndarray:
    """The values as one vector of length one."""
    return values.ravel() / max(float(np.linalg.norm(values)), 1e-6)


def colours(image: Image.Image) -> np.ndarray:
    """Float32[768] of length one: close for copies, also where lines moved a little."""
    return unit(thumbnail(image, THUMBNAIL))


def edges(image: Image.Image) -> np.ndarray:
    """Float32[512] of length one: steps in brightness, right and down; close for copies in other colours."""
    grey = thumbnail(image, THUMBNAIL + 1).mean(axis=2)
    return unit(np.stack([np.diff(grey, axis=1)[:-1, :], np.diff(grey, axis=0)[:, :-1]]))


def make_sample(png_folder: Path, out: Path, size: int, path: PurePosixPath, caption: Caption) -> Sample:
    """Write one image below OUT; return its sample."""
    image = load_image(png_folder / f"{path}.png", size)
    target = out / "images" / f"{path}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target)
    relative = target.relative_to(out).as_posix()
    return Sample(relative, caption.text, caption.name_key, colours(image), edges(image))


# Group: samples -> groups of near duplicates.


def similar_pairs(vectors: np.ndarray, least: float, chunk: int = 512) -> Iterator[tuple[int, int]]:
    """Float32[n d], rows of length one -> pairs of rows whose cosine is `least` or more."""
    for start in range(0, len(vectors), chunk):
        rows, columns = np.nonzero(vectors[start : start + chunk] @ vectors.T >= least)
        for row, column in zip((rows + start).tolist(), columns.tolist(), strict=True):
            if row < column:
                yield row, column


def equal_pairs(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs that chain all positions of each key together."""
    last: dict[str, int] = {}
    for index, key in enumerate(keys):
        if key in last:
            yield last[key], index
        last[key] = index


def connect(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Numbers 0..count-1 -> groups that pairs connect, directly or through others (union-find)."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in pairs:
        parent[root(first)] = root(second)
    groups = defaultdict(list)
    for index in range(count):
        groups[root(index)].append(index)
    return list(groups.values())


def group_samples(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples -> groups with the same name key, nearly the same colours or nearly the same edges."""
    pairs = chain(
        equal_pairs([sample.name_key for sample in samples]),
        similar_pairs(np.stack([sample.colours for sample in samples]), SAME_COLOURS),
        similar_pairs(np.stack([sample.edges for sample in samples]), SAME_EDGES),
    )
    return [[samples[index] for index in group] for group in connect(len(samples), pairs)]


# Split and write.


def draw(seed: int, key: str) -> bytes:
    """A number that looks random and depends on nothing but the seed and the key."""
    return hashlib.sha256(f"{seed} {key}".encode()).digest()


def hold_out(groups: Iterable[Sequence[str]], fraction: float, seed: int) -> set[str]:
    """Groups of paths -> the paths of whole groups, up to `fraction` of all; each group's first path draws.

    Large groups are lumps of cards, flags or round buttons: one could fill the held-out set, so they train.
    """
    groups = [sorted(group) for group in groups]
    wanted, held = fraction * sum(map(len, groups)), set[str]()
    small = [group for group in groups if len(group) <= MAX_HELD_OUT_GROUP]
    for group in sorted(small, key=lambda group: draw(seed, group[0])):
        if len(held) + len(group) <= wanted:
            held.update(group)
    return held


def write_split(path: Path, samples: Iterable[Sample], seed: int) -> None:
    """One JSON object a line, in an order drawn from the seed: any first part of the file is a fair one."""
    ordered = sorted(samples, key=lambda sample: draw(seed, sample.path))
    rows = ({"path": sample.path, "caption": sample.caption} for sample in ordered)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def summarise(train: Sequence[Sample], heldout: Sequence[Sample], groups: Sequence[object], skipped: Skipped) -> str:
    """The figures a user should know, one a line."""
    words = [[re.findall(r"[a-z]+", sample.caption) for sample in samples] for samples in (train, heldout)]
    train_words, all_words = set(chain(*words[0])), [*chain(*words[0], *words[1])]
    kept = len(train) + len(heldout)
    lines = [f"found     {kept + len(skipped)} drawings", f"kept      {kept}", f"skipped   {len(skipped)}"]
    lines += [f"  {count:6d}  {reason}" for reason, count in Counter(skipped.values()).most_common()]
    lines += [
        f"groups    {len(groups)} of near duplicates or single drawings",
        f"train     {len(train)}",
        f"held out  {len(heldout)}",
        f"words     {len(set(all_words))} different, {len(train_words)} of them in train; mean caption "
        f"{len(all_words) / kept:.1f} words, longest {max(map(len, chain(*words)))}",
    ]
    return "\n".join(lines)


def prepare(out: Path, png_folder: Path, svg_folder: Path, size: int, held_out: float, seed: int) -> str:
    """Write OUT and return a summary for people."""
    skipped: Skipped = {}
    paths = {path: path for path in find_paths(png_folder, svg_folder)}
    drawings = keep(lambda path: read_drawing(png_folder, svg_folder, path), paths, skipped)
    captions = caption_drawings(drawings, skipped)
    targets = {path: (path, caption) for path, caption in captions.items()}
    samples = keep(lambda target: make_sample(png_folder, out, size, *target), targets, skipped)
    if not samples:
        raise ValueError(f"none of {len(paths)} drawings can be used: {dict(Counter(skipped.values()))}")
    groups = group_samples(list(samples.values()))
    held = hold_out([[sample.path for sample in group] for group in groups], held_out, seed)
    train = [sample for sample in samples.values() if sample.path not in held]
    heldout = [sample for sample in samples.values() if sample.path in held]
    write_split(out / "train.jsonl", train, seed)
    write_split(out / "heldout.jsonl", heldout, seed)
    return summarise(train, heldout, groups, skipped)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line -> options; values that cannot work are refused here."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; replaces an earlier run's files")
    parser.add_argument("--png", type=Path, metavar="DIR", default=PNG_FOLDER, help="PNGs (%(default)s)")
    parser.add_argument("--svg", type=Path, metavar="DIR", default=SVG_FOLDER, help="SVGs (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="most pixels on the long side (%(default)s)")
    parser.add_argument("--held-out", type=float, default=0.06, help="share of drawings (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the held-out groups (%(default)s)")
    options = parser.parse_args(arguments)
    if options.size < MIN_SIDE:
        parser.error(f"--size {options.size} is too small: images need {MIN_SIDE} pixels or more")
    if not 0 <= options.held_out <= 0.5:
        parser.error(f"--held-out {options.held_out} is not a share from 0 to 0.5")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line; what a user can mend ends in one line."""
    options = parse_arguments(arguments)
    try:
        print(prepare(options.out, options.png, options.svg, options.size, options.held_out, options.seed))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
