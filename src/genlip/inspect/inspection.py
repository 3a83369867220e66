"""Inspection: statistics of a collection, before training on it.

In: a source, and the settings of a run. Out: an `Inspection`; `inspection_page` makes a page of it.
Some examples are read through the run's own reader, so the same examples are skipped as in training, for the same reasons.
The run's own `Stream` fills packs from the measured sizes, without pixels. Figures of an epoch are scaled from the examples
looked at to all examples. If the number of patches follows a schedule, its last entry is used.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions, load_tokenizer, train_tokenizer, usual_end
from genlip.data.examples import Caption, Choice, Example, ImageLike, Unusable, pick, plain_text, several_lines
from genlip.data.images import ImageConfig, decode, file_suffix, read_file, reduced
from genlip.data.order import Draw
from genlip.data.packing import PackingConfig, Stream
from genlip.data.samples import Reader, ReadSample, SampleReader, Skipped
from genlip.data.sources import Mixture, Source, corpus, locate, notes_of
from genlip.inspect.figures import Inspection, Packs, Part, Seen
from genlip.model.config import GenLIPConfig
from genlip.model.pack import Pack, Sample

__all__ = ["inspect_source", "remedy", "usual_captions"]

_SHOWN = 24  # images of the contact sheet
_SIDE = 200  # pixels of their longer side
_PACKS = (10, 100)  # fewest and most packs that are filled to measure packing efficiency
_PLACED = 20_000  # samples to pack, within these bounds
# What to change, by the reason for which an example is skipped.
_REMEDIES = {
    "missing": "check that the files lie where the source says",
    "not an image": "remove these files, or fetch them again",
    "damaged": "remove these files, or fetch them again",
    "too large": "raise images.max_pixels if the files are trusted, or make the images smaller",
    "unknown range": "save these images in 8 bits",
    "no caption": "name the field of the captions (data.fields), or remove these examples",
    "too large for a pack": "raise packing.max_tokens or lower images.max_patches",
}


def remedy(reason: str) -> str:
    """What to change if examples are skipped for this reason."""
    return _REMEDIES.get(reason, "check the files themselves")


def inspect_source(
    source: Source,
    image_config: ImageConfig = ImageConfig(resize="native"),  # noqa: B008
    captions: Captions | None = None,
    packing: PackingConfig = PackingConfig(),  # noqa: B008
    *,
    model_config: GenLIPConfig | None = None,
    samples: int = 1000,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> Inspection:
    """Look at `samples` examples, drawn at random from the whole source; at all of them if there are fewer.

    captions      tokenizer and settings; None trains a tokenizer of 8,192 tokens on the captions
    model_config  sizes of a patch; None takes the default model's
    advance       is called with the number of newly read examples

    Memory and time depend on `samples`, not on the length of the source. Raises ValueError if no example can be used.
    """
    indices, captions = _drawn(source, samples, seed), captions or usual_captions(source)
    if packing.patch_schedule:
        image_config = replace(image_config, max_patches=packing.patch_schedule[-1][1])
    model = model_config or GenLIPConfig(vocab_size=captions.tokenizer.get_vocab_size())
    decoded = _decoding(source, image_config, model)
    reader = SampleReader(decoded, image_config, captions, model, seed, packing.max_tokens)
    uncut = Captions(captions.tokenizer, replace(captions.config, max_tokens=sys.maxsize))  # up to a million characters
    seen: dict[int, Seen] = {}
    skipped: list[Skipped] = []
    shown: list[tuple[Seen, Image.Image]] = []
    for done, index in enumerate(indices, start=1):
        found = _look(reader, uncut, index)
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            seen[index], image = found
            if len(shown) < _SHOWN * done / len(indices):  # spread over the source
                shown.append((seen[index], reduced(image, _SIDE)))
        advance(1)
    if not seen:
        raise ValueError(_nothing_usable(source.name, len(indices), _by_reason(skipped)))
    return Inspection(
        name=source.name,
        examples=len(source),
        notes=notes_of(source),
        parts=_parts(source, indices, list(seen)),
        seen=list(seen.values()),
        skipped=_by_reason(skipped),
        shown=shown,
        packs=_pack_statistics([(one.patches, one.text) for one in seen.values()], packing, seed),
        images=image_config,
        captions=captions.config,
        packing=packing,
        patch_size=model.patch_size,
    )


def usual_captions(
    source: Source,
    tokenizer: str = "bpe",
    *,
    prompt: str = "",
    end: str = "",
    max_tokens: int = 512,
    lines: Literal["all", "first", "any"] = "all",
) -> Captions:
    """A tokenizer and how captions are read, for a look at a source.

    tokenizer  tokenizer.json, folder or Hub id; "bpe" trains one of 8,192 tokens on the captions of the source
    end        token that ends a caption; empty takes the tokenizer's usual one
    prompt, max_tokens, lines: see `CaptionConfig`
    """
    trained = tokenizer == "bpe"
    found = train_tokenizer(corpus(source, 5_000), 8192) if trained else load_tokenizer(tokenizer)
    config = CaptionConfig(prompt=prompt, end=end or usual_end(found), max_tokens=max_tokens, lines=lines)
    return Captions(found, config)


def _drawn(source: Source, samples: int, seed: int) -> list[int]:
    """Random indices of examples without repetition, sorted, since neighbours are stored together on disk."""
    if samples < 1 or not len(source):
        raise ValueError(f"{source.name}: {samples} of {len(source)} examples to look at: need at least 1 of at least 1")
    number = min(samples, len(source))
    # `choice` without shuffling needs memory only for the drawn indices, not for the whole source.
    return sorted(np.random.default_rng(seed).choice(len(source), number, replace=False, shuffle=False).tolist())


class _Decoding:
    """A source with decoded images, so that each is decoded once; it keeps the last image and its example."""

    example: Example
    image: Image.Image

    def __init__(self, source: Source, decode: Callable[[ImageLike], Image.Image]) -> None:
        self.source, self.name, self.decode = source, source.name, decode

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        self.example = self.source[index]
        try:
            self.image = self.decode(self.example.image)
        except Unusable:
            return self.example  # the reader decodes again and makes the error message
        return self.example._replace(image=self.image)

    def caption(self, index: int) -> Caption:
        return self.source.caption(index)


def _decoding(source: Source, images: ImageConfig, model: GenLIPConfig) -> Source:
    """A source with decoded images; for a mixture, a mixture of such sources."""
    if isinstance(source, Mixture):
        return Mixture([_decoding(part, images, model) for part in source.sources], source.weights, source.name)
    return _Decoding(source, lambda image: decode(image, images.max_pixels, "RGB" if model.num_channels == 3 else "L"))


def _look(reader: SampleReader, uncut: Captions, index: int) -> Skipped | tuple[Seen, Image.Image]:
    """Measurements of an example, and its image; `uncut` encodes captions without a limit of tokens."""
    (one,) = reader.read([Draw(0, index)])
    if isinstance(one, Skipped):
        return one
    place = locate(reader.source, 0, index)
    example, image, sample = cast(_Decoding, place.source).example, cast(_Decoding, place.source).image, one.sample
    caption = reader.chosen(example.caption, Draw(0, index))
    stored = pick(example.caption, reader.seed, 0, index)
    (whole, learned), (within, _) = uncut.encode(caption), reader.captions.encode(caption)
    answers = 1 if isinstance(caption, str) else sum(turn.learned for turn in caption)
    file_format, file_bytes = _file(example.image)
    seen = Seen(
        key=example.key,
        source=one.source,
        number=place.number,
        width=image.width,
        height=image.height,
        format=file_format,
        file_bytes=file_bytes,
        patches=len(sample.patches),
        resized=_resized((image.height, image.width), sample.grid, reader.model_config.patch_size),
        squeezed=one.squeezed,
        caption=plain_text(caption).strip(),
        lines=len(several_lines(stored)) if isinstance(stored, str) else 1,
        conversation=not isinstance(caption, str),
        several=isinstance(example.caption, Choice) and len(example.caption.captions) > 1,
        tokens=int(learned.sum()) - answers * len(uncut.end_ids),
        text=len(sample.token_ids),
        cut=len(within) < len(whole),
        cut_by_pack=len(sample.token_ids) < len(within),
    )
    return seen, image


def _file(image: ImageLike) -> tuple[str, int | None]:
    """The format of an image's file, from its first bytes, and its size."""
    if isinstance(image, Image.Image):
        return "in memory", None
    data = image if isinstance(image, bytes) else read_file(image)
    return file_suffix(data), len(data)


def _resized(size: tuple[int, int], grid: tuple[int, int], patch: int) -> Literal["enlarged", "kept", "reduced"]:
    """Whether an image of (height, width) pixels is resized for its grid; rounding to whole patches counts as "kept"."""
    (height, width), (rows, columns) = size, grid
    if 2 * abs(rows * patch - height) <= patch and 2 * abs(columns * patch - width) <= patch:
        return "kept"
    return "enlarged" if rows * columns * patch**2 > height * width else "reduced"


def _by_reason(skipped: Sequence[Skipped]) -> dict[str, list[Skipped]]:
    """Skipped examples by reason, the most frequent reason first."""
    reasons = Counter(one.reason for one in skipped).most_common()
    return {reason: [one for one in skipped if one.reason == reason] for reason, _ in reasons}


def _nothing_usable(name: str, looked_at: int, skipped: Mapping[str, Sequence[Skipped]]) -> str:
    counts = ", ".join(f"{len(some)} {reason}" for reason, some in skipped.items())
    reason, (first, *_) = next(iter(skipped.items()))
    found = f"{name}: none of the {looked_at} examples looked at can be used ({counts}), such as {first.message}"
    return f"{found}; {remedy(reason)}"


def _parts(source: Source, indices: Sequence[int], usable: Sequence[int]) -> list[Part]:
    """The parts of a mixture; empty for any other source."""
    if not isinstance(source, Mixture):
        return []
    ends = np.cumsum(source.takes)
    looked_at, used = (Counter(np.searchsorted(ends, some, side="right").tolist()) for some in (indices, usable))
    return [
        Part(part.name, len(part), int(take), looked_at[place], used[place])
        for place, (part, take) in enumerate(zip(source.sources, source.takes, strict=True))
    ]


class _Sizes:
    """A replacement for a reader: empty samples with these numbers of patches and text tokens."""

    def __init__(self, sizes: Sequence[tuple[int, int]], seed: int) -> None:
        self.seed, self.source = seed, range(len(sizes))
        self.samples = [_empty(*size) for size in sizes]

    def read(self, draws: Sequence[Draw], budgets: Sequence[int] = ()) -> list[ReadSample]:
        return [self.samples[draw.number] for draw in draws]

    def pack(self, samples: Sequence[Sample]) -> Pack:
        return Pack.of(samples)


def _empty(patches: int, text: int) -> ReadSample:
    sample = Sample(np.zeros((patches, 1), np.uint8), (1, patches), np.zeros(text, np.int64), np.ones(text, bool))
    return ReadSample("", sample, "", False)


def _pack_statistics(sizes: Sequence[tuple[int, int]], packing: PackingConfig, seed: int) -> Packs:
    """Statistics of packs filled with samples of (patches, text) rows, from the streams in turn as in a loader."""
    reader = cast(Reader, _Sizes(sizes, seed))
    streams = [Stream(reader, packing, number) for number in range(packing.all_streams)]
    number = int(np.clip(_PLACED * np.mean(np.sum(sizes, axis=1)) / packing.max_tokens, *_PACKS))
    batches = [streams[n % len(streams)].next_batch() for n in range(number)]
    packs = [cast(Pack, batch.pack) for batch in batches if batch.pack is not None]
    rows = np.array([pack.num_rows for pack in packs])
    return Packs(
        laid=len(packs),
        packing_efficiency=float(rows.mean()) / packing.max_tokens,
        least_efficiency=float(rows.min()) / packing.max_tokens,
        samples=float(np.mean([len(pack.grids) for pack in packs])),
        patch_share=sum(pack.num_patches for pack in packs) / float(rows.sum()),
    )
