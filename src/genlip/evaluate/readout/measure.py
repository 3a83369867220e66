"""Readout: what every patch of an image would say, and whether it says what is there (the paper's patch semantics readout).

In: a speaker and images; with objects where these are known. Out: a `Result` with the k likeliest tokens of every patch, the
share of objects' patches that say a word of their object, and that share's controls (`in_place`).

Patches are asked without a prompt: they never see text. In training only the last patch speaks, and only where there is no
prompt; what the others say is what their features have in common with those that do.

Axes: p patches of an image, k tokens of a patch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from genlip.data.images import ImageLike, reduced
from genlip.evaluate.aggregators import ratio
from genlip.evaluate.frozen.features import ImageSet
from genlip.evaluate.image_batches import looked_at
from genlip.evaluate.readout.localization import in_place_scores
from genlip.evaluate.readout.page import SIDE
from genlip.evaluate.readout.patch_tokens import Read, ask
from genlip.evaluate.readout.word_tokens import WordTokens
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.report.patch_pictures import confident_picture
from genlip.speaker import PatchWords, Speaker

__all__ = ["readout"]


_FREQUENT = 8  # tokens of a table


def readout(
    speaker: Speaker,
    data: ImageSet,
    *,
    model: str = "",
    k: int = 5,
    limit: int = 200,
    shown: int = 6,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Ask the patches of some images of a set.

    data     any images; of a `NamedSet`, whose objects are known, the shares of patches that speak of them are scored
    model    what the user called it
    k        tokens of each patch
    limit    how many, spread evenly over the set
    shown    how many of them, the first, a page shows
    batch_size images read together
    advance  hears of finished images, skipped ones included

    Without a known object in any image the only score is "same token", the share of an image's patches that agree on their
    likeliest token. Raises ValueError for a set without images that can be used, an object whose mask has another size than
    its image, and where objects are known, fewer than 2 images.
    """
    started, tokens = time.perf_counter(), WordTokens(speaker.captions)
    reads, pictures = list[Read](), dict[str, ImageLike]()
    for some in looked_at(data, limit, batch_size, speaker.images, speaker.model.config, advance):
        for one, read in zip(some, ask(speaker, some, k), strict=True):
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


def _scores(reads: Sequence[Read], tokens: WordTokens) -> dict[str, Scores]:
    counts = [(max(Counter(row[0][0] for row in read.said.words).values()), len(read.said.words)) for read in reads]
    agreement = Scores(np.array(counts, dtype=np.float64), ratio)
    if not any(read.asked.places for read in reads):
        return {"same token": agreement}
    return in_place_scores([read.asked for read in reads], tokens) | {"same token": agreement}


def _frequent(reads: Sequence[Read]) -> list[list[Any]]:
    """[token, share of all patches] of the likeliest tokens, the most frequent first."""
    counts = Counter(row[0][0] for read in reads for row in read.said.words)
    return [[token, times / counts.total()] for token, times in counts.most_common(_FREQUENT)]


def _words(reads: Sequence[Read], tokens: WordTokens) -> dict[str, Any]:
    """For each word of an object the tokens that count for it, and whether they only begin it."""
    words = sorted({word for read in reads for place in read.asked.places for word in place.words})
    return {word: {"tokens": tokens.pieces(word), "split": tokens.split(word)} for word in words}


def _output(read: Read, tokens: WordTokens) -> dict[str, Any]:
    """What the patches say, and for each object its words, its patches, and those of them that say one of the words."""
    objects = []
    for words, own, _ in read.asked.places:
        ids = np.concatenate([tokens.ids(word) for word in words])
        heard = own & np.isin(read.asked.tokens, ids).any(axis=1)
        objects.append(
            {"words": list(words), "patches": np.flatnonzero(own).tolist(), "heard": np.flatnonzero(heard).tolist()}
        )
    return {"grid": list(read.said.grid), "words": read.said.words, "objects": objects}


def _pictures(number: int, image: Image.Image, said: PatchWords) -> dict[str, ImageLike]:
    return {f"image-{number}.png": reduced(image, SIDE), f"surest-{number}.png": confident_picture(image, said)}
