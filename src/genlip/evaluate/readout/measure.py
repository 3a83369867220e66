"""Readout: the likeliest next tokens of every patch, and whether they name what is there (the paper's patch semantics).

In: a speaker and images, with their objects if these are known. Out: a `Result` with the k likeliest tokens of every patch,
the share of objects' patches that say a word of their object, and that share's controls (`localization`).

Patches are read out without a prompt: they never see text. In training only the last patch predicts a token, and only where
there is no prompt. Other patches predict words as far as their features resemble those that were trained to.

Axes: p patches of an image, k tokens of a patch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genlip.data.datasets.any_images import open_any
from genlip.data.images import ImageLike, reduced
from genlip.encoder import Encoder
from genlip.evaluate.aggregators import ratio
from genlip.evaluate.frozen.features import ImageSet
from genlip.evaluate.image_batches import image_batches
from genlip.evaluate.readout.localization import localization_scores
from genlip.evaluate.readout.page import SIDE
from genlip.evaluate.readout.patch_tokens import PatchReadout, read_patch_tokens
from genlip.evaluate.readout.word_tokens import WordTokens
from genlip.evaluate.requirements import opened, require_speaker
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.report.patch_pictures import confident_picture
from genlip.speaker import PatchWords

__all__ = ["measure_readout"]


_FREQUENT = 8  # tokens of a table


def measure_readout(
    encoder: Encoder,
    data: ImageSet | str | Path,
    *,
    model: str = "",
    k: int = 5,
    limit: int = 200,
    shown: int = 6,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Read out the patches of some images of a set.

    encoder  a `Speaker`
    data     any images; a text or path is opened by `genlip.open_any`. If objects are known, the shares of patches that name
        them are scored
    model    the model's name, as results record it
    k        tokens of each patch
    limit    how many images, spread evenly over the set
    shown    how many of them, the first, a page shows
    batch_size images read together
    advance  is called with the number of newly finished images, skipped ones included

    Without a known object in any image the only score is "same token", the share of an image's patches that agree on their
    likeliest token. Raises ValueError for a set without images that can be used, an object whose mask has another size than
    its image, and where objects are known, fewer than 2 images.
    """
    data = opened(data, open_any)
    started, speaker = time.perf_counter(), require_speaker(encoder, "readout")
    tokens = WordTokens(speaker.captions)
    reads, pictures = list[PatchReadout](), dict[str, ImageLike]()
    for some in image_batches(data, limit, batch_size, speaker, advance):
        for one, read in zip(some, read_patch_tokens(speaker, some, k), strict=True):
            if len(reads) < shown:
                pictures |= _pictures(len(reads), one.picture, read.said)
            reads.append(read)
    if not reads:
        raise ValueError(f"{data.name}: none of its images can be used; the log names them")
    return Result(
        measurement="readout",
        model=model,
        data=data.name,
        settings=settings_of(speaker, k=k, images=min(limit, len(data))),
        scores=_scores(reads, tokens),
        keys=[read.key for read in reads],
        figures={"likeliest": _frequent(reads), "words": _words(reads, tokens), "shown": len(pictures) // 2},
        outputs=[_output(read, tokens) for read in reads],
        pictures=pictures,
        about=measured_on(speaker, time.perf_counter() - started),
    )


def _scores(reads: Sequence[PatchReadout], tokens: WordTokens) -> dict[str, Scores]:
    counts = [(max(Counter(row[0][0] for row in read.said.words).values()), len(read.said.words)) for read in reads]
    agreement = Scores(np.array(counts, dtype=np.float64), ratio)
    if not any(read.patch_tokens.places for read in reads):
        return {"same token": agreement}
    return localization_scores([read.patch_tokens for read in reads], tokens) | {"same token": agreement}


def _frequent(reads: Sequence[PatchReadout]) -> list[list[Any]]:
    """[token, share of all patches] of the likeliest tokens, the most frequent first."""
    counts = Counter(row[0][0] for read in reads for row in read.said.words)
    return [[token, times / counts.total()] for token, times in counts.most_common(_FREQUENT)]


def _words(reads: Sequence[PatchReadout], tokens: WordTokens) -> dict[str, Any]:
    """For each word of an object the tokens that count for it, and whether they only begin it."""
    words = sorted({word for read in reads for place in read.patch_tokens.places for word in place.words})
    return {word: {"tokens": tokens.pieces(word), "split": tokens.split(word)} for word in words}


def _output(read: PatchReadout, tokens: WordTokens) -> dict[str, Any]:
    """The words of the patches, and for each object its words, its patches, and those of them that say one of the words."""
    objects = []
    for words, own, _ in read.patch_tokens.places:
        ids = np.concatenate([tokens.ids(word) for word in words])
        heard = own & np.isin(read.patch_tokens.ids, ids).any(axis=1)
        objects.append(
            {"words": list(words), "patches": np.flatnonzero(own).tolist(), "heard": np.flatnonzero(heard).tolist()}
        )
    return {"grid": list(read.said.grid), "words": read.said.words, "objects": objects}


def _pictures(number: int, image: Image.Image, said: PatchWords) -> dict[str, ImageLike]:
    return {f"image-{number}.png": reduced(image, SIDE), f"surest-{number}.png": confident_picture(image, said)}
