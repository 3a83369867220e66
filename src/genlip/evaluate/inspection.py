"""Inspection: what a collection holds, looked at before one trains on it.

In: a source, and the settings that a run would read it with. Out: an `Inspection`, words about it, and a page.
It looks at a few examples through the run's own reader: what is skipped here is skipped there, for the same reason. From
the sizes that it measures, the run's own `Stream` lays packs without a single pixel, and what an epoch holds is scaled from
the examples looked at to all of them. Where the number of patches follows a schedule, its last entry counts.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from PIL import Image, ImageOps

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Caption, Choice, Conversation, Example, ImageLike, Unusable, pick, plain_text
from genlip.data.images import ImageConfig, decode
from genlip.data.order import Draw
from genlip.data.packing import PackingConfig, Stream
from genlip.data.samples import Read, SampleReader, Skipped
from genlip.data.sources import Mixture, Source, locate
from genlip.evaluate import report
from genlip.evaluate.report import Headline, Section, Thumbnail
from genlip.model.config import GenLIPConfig
from genlip.model.pack import Sample

__all__ = ["Inspection", "Packs", "Part", "Seen", "Shown", "inspect_source", "inspection_page", "summary"]

_SHOWN = 24  # images of the contact sheet
_SIDE = 200  # pixels of their longer side
_NAMED = 5  # skipped examples that are named for each reason
_PACKS = (10, 100)  # fewest and most that are laid to see how full they are
_PLACED = 20_000  # samples that are placed in them, within these bounds
_QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # in percent


class Part(NamedTuple):
    """A source of a mixture: its examples, how many an epoch takes, and what came of those looked at."""

    name: str
    examples: int
    per_epoch: int
    looked_at: int
    usable: int


class Seen(NamedTuple):
    """What is measured of an example that can be used.

    Attributes:
        key, source, number: which one it is: its name, that of its source, and its number there.
        width, height: of the upright image, in pixels.
        format: of its file; "in memory" for an image that is none.
        file_bytes: size of its file; None for an image that is none.
        patches: that it becomes.
        resized: whether it gets more or fewer pixels than it has; up to half a patch at a side is neither.
        squeezed: it is a ribbon, whose shape cannot be kept.
        caption: the one that is read in the first epoch.
        kind: "text" or "conversation"; `several` whether it was chosen among several.
        tokens: of what is learned of it, before any cut and without its end.
        text: rows that all its text fills in a pack.
        cut: at captions.max_tokens; `cut_by_pack` because the patches leave less room in a pack.
    """

    key: str
    source: str
    number: int
    width: int
    height: int
    format: str
    file_bytes: int | None
    patches: int
    resized: Literal["enlarged", "kept", "reduced"]
    squeezed: bool
    caption: str
    kind: Literal["text", "conversation"]
    several: bool
    tokens: int
    text: int
    cut: bool
    cut_by_pack: bool


class Shown(NamedTuple):
    """An example of the contact sheet: its image, reduced, and its size before that in pixels."""

    key: str
    caption: str
    image: Image.Image
    width: int
    height: int


class Packs(NamedTuple):
    """Packs laid from the measured sizes.

    Attributes:
        laid: how many.
        fill, least_fill: share of packing.max_tokens in use, on average and in the emptiest.
        samples, tokens: of a pack, on average; tokens are patches and text.
        patch_share: share of the tokens that are patches.
    """

    laid: int
    fill: float
    least_fill: float
    samples: float
    tokens: float
    patch_share: float


@dataclass(frozen=True)
class Inspection:
    """What a source holds, as far as it was looked at.

    Attributes:
        name, examples: the source's name and length.
        parts: of a mixture; empty for any other source.
        looked_at: examples that were read.
        seen: those that can be used.
        skipped: how many cannot, by reason, and the first few of each.
        shown: the contact sheet.
        packs: how they would be filled.
        vocabulary: different tokens in the captions, and those that the tokenizer has.
        images, captions, packing, patch_size: the settings.
    """

    name: str
    examples: int
    parts: tuple[Part, ...]
    looked_at: int
    seen: tuple[Seen, ...]
    skipped: Mapping[str, tuple[int, tuple[Skipped, ...]]]
    shown: tuple[Shown, ...]
    packs: Packs
    vocabulary: tuple[int, int]
    images: ImageConfig
    captions: CaptionConfig
    packing: PackingConfig
    patch_size: int

    @property
    def usable(self) -> int:
        """Examples among those looked at that can be used."""
        return len(self.seen)

    @cached_property
    def measures(self) -> dict[str, np.ndarray]:
        """Each measure of the usable examples; "bytes" where there are files."""
        columns = {name: np.array([getattr(one, name) for one in self.seen]) for name in ("width", "height", "patches")}
        known = np.array([one.file_bytes for one in self.seen if one.file_bytes is not None])
        return {
            "width": columns["width"],
            "height": columns["height"],
            "pixels": columns["width"] * columns["height"],
            "aspect": columns["width"] / columns["height"],
            **({"bytes": known} if len(known) else {}),
            "patches": columns["patches"],
            "tokens": np.array([one.tokens for one in self.seen]),
            "rows": np.array([one.patches + one.text for one in self.seen]),
        }

    def quantiles(self, measure: str) -> dict[str, float]:
        """Least, quantiles, most and mean of a measure."""
        values = self.measures[measure]
        between = dict(zip((f"p{q}" for q in _QUANTILES), np.percentile(values, _QUANTILES).tolist(), strict=True))
        return {"least": values.min().item(), **between, "most": values.max().item(), "mean": values.mean().item()}

    def count(self, field: str, value: object = True) -> int:
        """Usable examples of which a field of `Seen` has this value."""
        return sum(getattr(one, field) == value for one in self.seen)

    def share(self, field: str, value: object = True) -> float:
        """The same as a share, in [0, 1]."""
        return self.count(field, value) / self.usable

    @cached_property
    def formats(self) -> dict[str, int]:
        """Usable examples by the format of their file, the most frequent first."""
        return dict(Counter(one.format for one in self.seen).most_common())

    @cached_property
    def caption_counts(self) -> Counter[str]:
        """How many different examples have each caption; one that a mixture repeats counts once."""
        return Counter(caption for *_, caption in {(one.source, one.number, one.caption) for one in self.seen})

    @property
    def most_frequent_caption(self) -> tuple[str, int]:
        """And how many examples have it; of several, the first in the alphabet."""
        return min(self.caption_counts.items(), key=lambda item: (-item[1], item[0]))

    @property
    def duplicates(self) -> float:
        """Share of the examples whose caption another one before it has already, to the letter."""
        return 1 - len(self.caption_counts) / self.caption_counts.total()

    @property
    def epoch(self) -> dict[str, float]:
        """Samples, tokens, packs and updates of an epoch, if all examples are like those looked at."""
        samples = self.examples * self.usable / self.looked_at
        packs = samples / self.packs.samples
        tokens = samples * self.quantiles("rows")["mean"]
        return {"samples": samples, "tokens": tokens, "packs": packs, "updates": packs / self.packing.packs}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What looks wrong, each with what to change."""
        return tuple(_warnings(self))

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        reasons = {
            reason: {"number": number, "examples": [{"key": one.key, "message": one.message} for one in named]}
            for reason, (number, named) in self.skipped.items()
        }
        return {
            "source": self.name,
            "examples": self.examples,
            "parts": [part._asdict() for part in self.parts],
            "looked_at": self.looked_at,
            "usable": self.usable,
            "skipped": reasons,
            "images": self._image_figures(),
            "captions": self._caption_figures(),
            "packs": {**self.packs._asdict(), "rows": self.quantiles("rows")},
            "epoch": self.epoch,
            "warnings": list(self.warnings),
        }

    def _image_figures(self) -> dict[str, Any]:
        measured = {name: self.quantiles(name) for name in self.measures if name not in ("tokens", "rows")}
        counts = {"ribbons": self.count("squeezed"), **{how: self.count("resized", how) for how in ("enlarged", "reduced")}}
        return {**measured, **counts, "formats": self.formats}

    def _caption_figures(self) -> dict[str, Any]:
        caption, times = self.most_frequent_caption
        return {
            "tokens": self.quantiles("tokens"),
            "cut": self.count("cut"),
            "cut_by_pack": self.count("cut_by_pack"),
            "several": self.count("several"),
            "conversations": self.count("kind", "conversation"),
            "duplicates": self.duplicates,
            "most_frequent": {"caption": caption, "times": times},
            "vocabulary": {"used": self.vocabulary[0], "of": self.vocabulary[1]},
        }


# -- looking


def inspect_source(
    source: Source,
    images: ImageConfig,
    captions: Captions,
    model: GenLIPConfig,
    packing: PackingConfig,
    samples: int = 1000,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> Inspection:
    """Look at `samples` examples, drawn by the seed from all over the source; at all of them if there are fewer.

    advance   hears of examples looked at

    Memory and time depend on `samples`, not on the length of the source. Raises ValueError where nothing can be used.
    """
    indices = _drawn(source, samples, seed)
    if packing.patch_schedule:
        images = replace(images, max_patches=packing.patch_schedule[-1][1])
    look = _Look(source, images, captions, model, seed, packing.max_tokens)
    for place, index in enumerate(indices):
        look.at(int(index), share=(place + 1) / len(indices))
        advance(1)
    if not look.seen:
        raise ValueError(_nothing_usable(source.name, len(indices), look))
    return Inspection(
        name=_text(source.name),
        examples=len(source),
        parts=tuple(_parts(source, indices, look.usable)),
        looked_at=len(indices),
        seen=tuple(look.seen),
        skipped={reason: (number, tuple(look.named[reason])) for reason, number in look.skipped.most_common()},
        shown=tuple(look.shown),
        packs=_lay([(one.patches, one.text) for one in look.seen], packing, seed),
        vocabulary=(len(look.vocabulary), captions.tokenizer.get_vocab_size()),
        images=images,
        captions=captions.config,
        packing=packing,
        patch_size=model.patch_size,
    )


def _drawn(source: Source, samples: int, seed: int) -> np.ndarray:
    """Int64[n] different examples in rising order, as neighbours lie together on disk."""
    if samples < 1 or not len(source):
        raise ValueError(f"{source.name}: {samples} of {len(source)} examples to look at: need at least 1 of at least 1")
    number = min(samples, len(source))
    # Of a long source, `choice` holds those drawn and not all that there are.
    return np.sort(np.random.default_rng(seed).choice(len(source), number, replace=False, shuffle=False))


class _Look:
    """Reads examples one by one, and keeps what is measured of them."""

    def __init__(
        self,
        source: Source,
        images: ImageConfig,
        captions: Captions,
        model: GenLIPConfig,
        seed: int,
        max_tokens: int,
    ) -> None:
        self.decoding = _Decoding(images.max_pixels, "RGB" if model.num_channels == 3 else "L")
        self.reader = SampleReader(self.decoding.over(source), images, captions, model, seed, max_tokens)
        self.uncut = Captions(captions.tokenizer, replace(captions.config, max_tokens=sys.maxsize))
        self.usable: list[int] = []
        self.seen: list[Seen] = []
        self.shown: list[Shown] = []
        self.skipped: Counter[str] = Counter()
        self.named: dict[str, list[Skipped]] = {}
        self.vocabulary: set[int] = set()

    def at(self, index: int, share: float) -> None:
        """Look at an example; `share` of all are then done, and as much of the contact sheet should be."""
        (one,) = self.reader.read([Draw(0, index)])
        if isinstance(one, Skipped):
            self._skip(one)
            return
        self.usable.append(index)
        caption = pick(self.decoding.example.caption, self.reader.seed, 0, index)
        self.seen.append(self._measured(one, locate(self.reader.source, 0, index).number, caption))
        if len(self.shown) < share * _SHOWN:
            self.shown.append(_reduced(self.seen[-1], self.decoding.image))

    def _skip(self, one: Skipped) -> None:
        self.skipped[one.reason] += 1
        named = self.named.setdefault(one.reason, [])
        if len(named) < _NAMED:
            named.append(Skipped(_text(one.key), one.reason, _text(one.message), _text(one.source)))

    def _measured(self, one: Read, number: int, caption: str | Conversation) -> Seen:
        example, (width, height), sample = self.decoding.example, self.decoding.image.size, one.sample
        ((whole, learned),), ((within, _),) = self.uncut.encode_all([caption]), self.reader.captions.encode_all([caption])
        self.vocabulary.update(whole.tolist())
        answers = 1 if isinstance(caption, str) else sum(turn.learned for turn in caption)
        file_format, file_bytes = _file(example.image)
        return Seen(
            key=example.key,
            source=one.source,
            number=number,
            width=width,
            height=height,
            format=file_format,
            file_bytes=file_bytes,
            patches=len(sample.patches),
            resized=_resized((height, width), sample.grid, self.reader.model.patch_size),
            squeezed=one.squeezed,
            caption=_text(plain_text(caption).strip()),
            kind="text" if isinstance(caption, str) else "conversation",
            several=isinstance(example.caption, Choice),
            tokens=int(learned.sum()) - answers * len(self.uncut.end_ids),
            text=len(sample.token_ids),
            cut=len(within) < len(whole),
            cut_by_pack=len(sample.token_ids) < len(within),
        )


class _Decoding:
    """Decodes images where a reader takes them from, and remembers the last one with its example."""

    example: Example
    image: Image.Image

    def __init__(self, max_pixels: int, mode: Literal["RGB", "L"]) -> None:
        self.max_pixels, self.mode = max_pixels, mode

    def over(self, source: Source) -> Source:
        """A source that gives decoded images; of a mixture, one whose parts do."""
        if isinstance(source, Mixture):
            return Mixture([self.over(part) for part in source.sources], source.weights, source.name)
        return _Decoded(source, self)

    def of(self, example: Example) -> Example:
        """The example with its image decoded; with its own where that fails, for which the reader has the words."""
        try:
            self.example, self.image = example, decode(example.image, self.max_pixels, self.mode)
        except Unusable:
            return example
        return example._replace(image=self.image)


@dataclass(frozen=True)
class _Decoded:
    source: Source
    decoding: _Decoding

    @property
    def name(self) -> str:
        return self.source.name

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.decoding.of(self.source[index])

    def caption(self, index: int) -> Caption:
        return self.source.caption(index)


_MAGIC = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF",
}  # fmt: skip


def _file(image: ImageLike) -> tuple[str, int | None]:
    """The format of an image's file and its bytes, by its first bytes."""
    if isinstance(image, Image.Image):
        return "in memory", None
    if isinstance(image, bytes):
        head, size = image[:16], len(image)
    else:
        with Path(image).open("rb") as file:
            head, size = file.read(16), os.fstat(file.fileno()).st_size
    return _format(head), size


def _format(head: bytes) -> str:
    if head[8:12] == b"WEBP":
        return "WebP"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    if head[:1] == b"P" and head[1:2] in b"1234567":
        return "PPM"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "other")


def _resized(size: tuple[int, int], grid: tuple[int, int], patch: int) -> Literal["enlarged", "kept", "reduced"]:
    """What becomes of an image of (height, width) pixels on a grid of patches; rounding to whole patches is nothing."""
    (height, width), (rows, columns) = size, grid
    if 2 * abs(rows * patch - height) <= patch and 2 * abs(columns * patch - width) <= patch:
        return "kept"
    return "enlarged" if rows * columns * patch**2 > height * width else "reduced"


def _reduced(seen: Seen, image: Image.Image) -> Shown:
    if max(image.size) > _SIDE:
        image = ImageOps.contain(image, (_SIDE, _SIDE))
    return Shown(_text(seen.key), seen.caption, image, seen.width, seen.height)


_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _text(text: str) -> str:
    """A text without what a terminal would obey or UTF-8 cannot hold; captions and names of files may be anything."""
    return _UNSAFE.sub("\ufffd", text)


def _nothing_usable(name: str, looked_at: int, look: _Look) -> str:
    (reason, _), *_ = look.skipped.most_common(1)
    counts = ", ".join(f"{number} {reason}" for reason, number in look.skipped.most_common())
    hint = _REMEDIES.get(reason, "look at the files themselves")
    first = look.named[reason][0].message
    return f"{name}: none of the {looked_at} examples looked at can be used ({counts}), such as {first}; {hint}"


def _parts(source: Source, indices: np.ndarray, usable: Sequence[int]) -> Iterator[Part]:
    """The parts of a mixture; none of any other source."""
    if not isinstance(source, Mixture):
        return
    ends = np.cumsum(source.takes)
    looked_at, used = (
        np.bincount(np.searchsorted(ends, np.asarray(some, np.int64), side="right"), minlength=len(ends))
        for some in (indices, usable)
    )
    for place, part in enumerate(source.sources):
        yield Part(_text(part.name), len(part), int(source.takes[place]), int(looked_at[place]), int(used[place]))


# -- packs


class _Sizes:
    """Stands for a reader: samples as large as they should be, of patches that hold nothing."""

    def __init__(self, sizes: Sequence[tuple[int, int]], seed: int) -> None:
        self.seed, self.source = seed, range(len(sizes))
        self.samples = [_empty(*size) for size in sizes]

    def read(self, draws: Sequence[Draw], budgets: Sequence[int] = ()) -> list[Read]:
        return [self.samples[draw.number] for draw in draws]


def _empty(patches: int, text: int) -> Read:
    sample = Sample(np.zeros((patches, 1), np.uint8), (1, patches), np.zeros(text, np.int64), np.ones(text, bool))
    return Read("", sample, "", False)


def _lay(sizes: Sequence[tuple[int, int]], packing: PackingConfig, seed: int) -> Packs:
    """Packs of samples of (patches, text) rows, from the streams in turn as a loader takes them."""
    reader = cast(SampleReader, _Sizes(sizes, seed))
    streams = [Stream(reader, packing, number) for number in range(packing.all_streams)]
    number = int(np.clip(_PLACED * np.mean(np.sum(sizes, axis=1)) / packing.max_tokens, *_PACKS))
    packs = [pack for n in range(number) if (pack := streams[n % len(streams)].next_batch().pack) is not None]
    rows = np.array([pack.num_rows for pack in packs])
    return Packs(
        laid=len(packs),
        fill=float(rows.mean()) / packing.max_tokens,
        least_fill=float(rows.min()) / packing.max_tokens,
        samples=float(np.mean([len(pack.grids) for pack in packs])),
        tokens=float(rows.mean()),
        patch_share=sum(pack.num_patches for pack in packs) / float(rows.sum()),
    )


# -- warnings

# What to change, by the reason of a skipped example.
_REMEDIES = {
    "missing": "check that the files lie where the source says",
    "not an image": "remove these files, or fetch them again",
    "damaged": "remove these files, or fetch them again",
    "too large": "raise images.max_pixels if they are sound, or reduce them beforehand",
    "no caption": "name the field of the captions (data.fields), or remove these examples",
    "too large for a pack": "raise packing.max_tokens or lower images.max_patches",
}


def _warnings(found: Inspection) -> Iterator[str]:
    yield from _unusable_warning(found)
    yield from _caption_warnings(found)
    if found.share("resized", "enlarged") > 0.5:
        less = "images.min_patches" if found.images.resize == "native" else "images.size"
        yield (
            f"{found.share('resized', 'enlarged'):.1%} of the images are enlarged, which costs tokens and shows nothing "
            f"more: lower {less}, or take larger images."
        )
    if found.packs.fill < 0.98:
        yield (
            f"Packs are only {found.packs.fill:.1%} full, so {1 - found.packs.fill:.1%} of every step is wasted: raise "
            f"packing.look_ahead (now {found.packing.look_ahead}) or packing.max_tokens (now {found.packing.max_tokens})."
        )


def _unusable_warning(found: Inspection) -> Iterator[str]:
    share = 1 - found.usable / found.looked_at
    if share > 0.01:
        reason, (number, _) = next(iter(found.skipped.items()))
        remedy = _REMEDIES.get(reason, "look at the files themselves")
        yield f"{share:.1%} of the examples cannot be used, {number} of them for one reason, “{reason}”: {remedy}."


def _caption_warnings(found: Inspection) -> Iterator[str]:
    tokens, cut, limit = found.quantiles("tokens"), found.share("cut"), found.captions.max_tokens
    if found.duplicates > 0.2:
        yield (
            f"{found.duplicates:.1%} of the captions repeat another one to the letter: a model then learns to recite them; "
            "remove duplicates, or name a field with captions of the single image (data.fields)."
        )
    if cut > 0.05:
        yield (
            f"{cut:.1%} of the captions are cut, and their ends never learned: raise captions.max_tokens (now {limit}; "
            f"99% of the captions have at most {tokens['p99']:.0f} tokens)."
        )
    if found.share("cut_by_pack") > 0.05:
        yield (
            f"{found.share('cut_by_pack'):.1%} of the captions are cut because their image leaves no room in a pack: raise "
            f"packing.max_tokens (now {found.packing.max_tokens}) or lower images.max_patches."
        )
    if tokens["p50"] < 5:
        yield (
            f"Half of the captions have {tokens['p50']:g} tokens or fewer: labels rather than captions, and little to learn "
            "from; name a field with longer ones (data.fields), or have the images described."
        )


# -- words


def summary(found: Inspection) -> str:
    """What was found, as lines for a terminal."""
    figures = {**_image_words(found), **_caption_words(found), **_pack_words(found)}
    lines = [
        f"{found.name}: {found.examples:,} examples, {found.looked_at:,} looked at, {found.usable:,} usable",
        *(f"part {part.name}: {_part_words(part)}" for part in found.parts),
        *(f"skipped: {reason}: {n:,}, such as {named[0].message}" for reason, (n, named) in found.skipped.items()),
        *(f"{name}: {words}" for name, words in figures.items()),
        *(f"warning: {text}" for text in found.warnings),
    ]
    return "\n".join(" ".join(line.split()) for line in lines)


def _part_words(part: Part) -> str:
    times = f" ({part.per_epoch / part.examples:.2f} times each)" if part.examples else ""
    seen = f"{part.looked_at:,} looked at, {part.usable:,} usable"
    return f"{part.examples:,} examples, {part.per_epoch:,} per epoch{times}, {seen}"


def _image_words(found: Inspection) -> dict[str, str]:
    """Names and figures of the images."""
    config, patch = found.images, found.patch_size
    native = f"own shape, {config.min_patches:,} to {config.max_patches:,} patches of {patch}x{patch} pixels"
    fixed = f"squeezed to {config.size}x{config.size} pixels, patches of {patch}x{patch}"
    resized = ", ".join(f"{_share(found.share('resized', how))} {how}" for how in ("enlarged", "reduced"))
    ribbons = f"{found.count('squeezed'):,} too long for their shape to be kept"
    return {
        "image size": f"{_median(found, 'width')} wide, {_median(found, 'height')} high, in pixels",
        "image files": ", ".join(f"{number:,} {name}" for name, number in found.formats.items()),
        **({"file size": f"{_median(found, 'bytes')} bytes"} if "bytes" in found.measures else {}),
        "resize": f"{native if config.resize == 'native' else fixed}: {resized}",
        **({"ribbons": ribbons} if found.count("squeezed") else {}),
        "patches per image": _median(found, "patches"),
    }


def _caption_words(found: Inspection) -> dict[str, str]:
    """Names and figures of the captions."""
    caption, times = found.most_frequent_caption
    kinds = {"with several captions": found.count("several"), "conversations": found.count("kind", "conversation")}
    cut = {f"at captions.max_tokens {found.captions.max_tokens:,}": "cut", "by the size of a pack": "cut_by_pack"}
    used, there = found.vocabulary
    return {
        "caption tokens": _median(found, "tokens"),
        "captions cut": ", ".join(f"{_share(found.share(field))} {what}" for what, field in cut.items()),
        **{what: f"{number / found.usable:.1%}" for what, number in kinds.items() if number},
        "repeated captions": _share(found.duplicates),
        **({"most frequent caption": f"{times:,} times “{_clipped(caption)}”"} if times > 1 else {}),
        "vocabulary": f"{used:,} of {there:,} tokens occur",
    }


def _pack_words(found: Inspection) -> dict[str, str]:
    """Names and figures of packs and epochs."""
    packs, epoch, packing = found.packs, found.epoch, found.packing
    return {
        "packs": f"{packs.fill:.1%} full (least {packs.least_fill:.1%}) of {packing.max_tokens:,} tokens, "
        f"{packs.samples:.1f} samples each",
        "tokens per sample": f"{_median(found, 'rows')}; {packs.patch_share:.1%} are patches, the rest text",
        "epoch": f"about {_rounded(epoch['samples'])} samples, {_rounded(epoch['tokens'])} tokens, "
        f"{_rounded(epoch['packs'])} packs, {_rounded(epoch['updates'])} updates of {packing.packs:,} "
        f"{'pack' if packing.packs == 1 else 'packs'}",
    }


def _median(found: Inspection, measure: str) -> str:
    """The median of a measure, and between which values all lie."""
    q = found.quantiles(measure)
    if q["least"] == q["most"]:
        return f"{q['least']:,.0f}"
    return f"median {q['p50']:,.0f}, from {q['least']:,.0f} to {q['most']:,.0f}"


def _share(share: float) -> str:
    return "none" if not share else "<0.1%" if share < 0.0005 else f"{share:.1%}"


def _rounded(number: float) -> str:
    """A whole number in three digits, as an estimate deserves."""
    return f"{float(f'{number:.3g}'):,.0f}" if number >= 1000 else f"{number:.3g}"


def _clipped(text: str, most: int = 80) -> str:
    """One line of a text."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most].rstrip()}…"


# -- page

# How measures are called, and in what unit they are counted.
_MEASURES = {
    "width": ("Width", "pixels"),
    "height": ("Height", "pixels"),
    "aspect": ("Width : height", ""),
    "bytes": ("File size", "bytes"),
    "pixels": ("Size", "pixels"),
    "patches": ("Patches per image", ""),
    "tokens": ("Length of captions", "tokens"),
    "rows": ("Patches and text per sample", "tokens"),
}


def inspection_page(found: Inspection) -> str:
    """The page: what was found, in one HTML file that needs nothing but itself."""
    sections = [
        Section("What it holds", _story(found) + report.headlines(_headlines(found)) + report.advice(found.warnings)),
        *([Section("Parts", _part_table(found.parts))] if found.parts else []),
        *([Section("What cannot be used", _skipped_table(found))] if found.skipped else []),
        Section(f"A look at {len(found.shown)} of them", report.contact_sheet(map(_thumbnail, found.shown))),
        Section("Images", _figures(found, _image_words(found), "width", "height", "aspect", "bytes", "patches")),
        Section("Captions", _figures(found, _caption_words(found), "tokens")),
        Section("Packs", _figures(found, _pack_words(found), "rows")),
        Section("All figures", _quantile_table(found)),
    ]
    return report.page(f"Inspection of {found.name}", sections)


def _story(found: Inspection) -> str:
    if found.looked_at == found.examples:
        drawn = f"All {found.examples:,} examples were looked at."
    else:
        drawn = (
            f"{found.looked_at:,} of {found.examples:,} examples were looked at, drawn at random from all over the source; "
            "what is said of an epoch is scaled from them to all."
        )
    read = "They were read as a run with these settings would read them."
    return report.paragraphs(f"{drawn} {read}", *([] if found.warnings else ["Nothing looks wrong."]))


def _headlines(found: Inspection) -> list[Headline]:
    width, height = (found.quantiles(side)["p50"] for side in ("width", "height"))
    packs, epoch = found.packs, found.epoch
    return [
        Headline(
            _compact(found.examples), "examples", f"{found.usable / found.looked_at:.1%} of those looked at are usable"
        ),
        Headline(f"{width:.0f}x{height:.0f}", "pixels", "median width and height"),
        Headline(f"{found.quantiles('tokens')['p50']:,.0f}", "caption tokens", "median length"),
        Headline(f"{packs.fill:.1%}", "of a pack filled", f"by {packs.samples:.1f} samples on average"),
        Headline(
            _compact(float(f"{epoch['tokens']:.3g}")), "tokens an epoch", f"in about {_rounded(epoch['updates'])} updates"
        ),
    ]


def _compact(number: float) -> str:
    """A number that fits a tile."""
    if number < 10_000_000:
        return f"{number:,.0f}"
    power, letter = next(unit for unit in ((12, "T"), (9, "B"), (6, "M")) if number >= 10 ** unit[0])
    return f"{number / 10**power:.3g} {letter}"


def _part_table(parts: Sequence[Part]) -> str:
    rows = [
        (part.name, *(f"{number:,}" for number in (part.examples, part.per_epoch, part.looked_at, part.usable)))
        for part in parts
    ]
    return report.table(("part", "examples", "per epoch", "looked at", "usable"), rows)


def _skipped_table(found: Inspection) -> str:
    rows = [
        (reason, f"{number:,}", f"{number / found.looked_at:.1%}", [_clipped(one.message, 240) for one in named])
        for reason, (number, named) in found.skipped.items()
    ]
    return report.table(("reason", "examples", "share", "the first"), rows)


def _thumbnail(one: Shown) -> Thumbnail:
    return Thumbnail(one.image, one.caption, f"{one.width}x{one.height}")


def _figures(found: Inspection, words: Mapping[str, str], *names: str) -> str:
    """Facts beside a histogram of each measure that varies."""
    measures = {name: found.measures[name] for name in names if name in found.measures}
    charts = [
        report.histogram(_MEASURES[name][0], values, _MEASURES[name][1])
        for name, values in measures.items()
        if values.min() < values.max()
    ]
    facts = report.facts({f"{name[0].upper()}{name[1:]}": text for name, text in words.items()})
    return report.side_by_side(*charts, facts)


def _quantile_table(found: Inspection) -> str:
    measured = {name: found.quantiles(name) for name in _MEASURES if name in found.measures}
    head = ("", "least", *(f"{q}%" for q in _QUANTILES), "most", "mean")
    rows = [
        (", ".join(filter(None, _MEASURES[name])), *(_figure(value) for value in figures.values()))
        for name, figures in measured.items()
    ]
    return report.table(head, rows)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
