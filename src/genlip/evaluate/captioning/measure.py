"""Captioning: how near what a model says about images comes to their true captions.

In: a speaker and a source. Out: a `Result` with text scores against all references of each image, the share of numbers
that were read right, the loss of the true captions, and the picture gain. Captions are greedy unless asked otherwise, as
the paper speaks them ("Let ViT speak").

What was spoken can be kept in a file as it comes, so that a stopped measurement of many images goes on.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from genlip.data.order import Draw
from genlip.data.samples import ReadSample, SampleReader
from genlip.data.sources import Source
from genlip.evaluate.captioning.caption_scores import bleu4, cider_d, exact_match, rouge_l
from genlip.evaluate.captioning.numbers_read import numbers_in, numbers_read
from genlip.evaluate.captioning.page import SHOWN
from genlip.evaluate.captioning.partial_results import Unfinished
from genlip.evaluate.captioning.resumable import Told, captions_digest, told_captions
from genlip.evaluate.captioning.transcription import character_error_rate, word_error_rate
from genlip.evaluate.fingerprint import weights_fingerprint
from genlip.evaluate.held_out import held_out_scores, paired_losses
from genlip.evaluate.image_batches import spread
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.report.html import thumbnail
from genlip.speaker import Speaker

__all__ = ["captioning"]

_FAILURES_SHOWN = 8


_SIDE = 224  # pixels of a stored picture; the page shows about half


_DEALT = 512  # samples that are in memory at once, among which images are dealt to other captions


def captioning(
    speaker: Speaker,
    data: Source,
    *,
    model: str = "",
    limit: int = 500,
    batch_size: int = 64,
    transcription: bool = False,
    max_tokens: int = 256,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_stop: int = 0,
    seed: int = 0,
    partial: Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Caption images of a source, spread evenly over it, and score what was said.

    limit          how many; all where the source has no more
    batch_size     images captioned together
    transcription  also give the rates of wrong characters and words, for sources whose captions are what an image says
    max_tokens, temperature, top_k, top_p, repetition_stop, seed   of `Decoding`
    partial        a file for what was spoken so far; the same measurement goes on from it, and removes it at its end
    advance        hears of captioned images, skipped ones included

    Raises ValueError for an empty source, one in which no image can be used, and one without captions.
    """
    began = time.monotonic()
    decoding = speaker.decoding(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, repetition_stop=repetition_stop, seed=seed
    )
    if not len(data) or limit < 1 or batch_size < 1:
        raise ValueError(
            f"{data.name}: {len(data)} examples, {limit} to caption, {batch_size} at a time: all must be at least 1"
        )
    chosen = spread(len(data), limit)
    spoken_by = {name: value for name, value in dataclasses.asdict(decoding).items() if name != "end_ids"}
    settings = settings_of(
        speaker,
        images=len(chosen),
        prompt=speaker.captions.config.prompt,
        captions=captions_digest(data, chosen),
        **spoken_by,
    )
    weights = weights_fingerprint(speaker.model) if partial else ""
    unfinished = Unfinished(partial, {"model": model, "data": data.name, "settings": settings, "weights": weights})
    told = told_captions(speaker, data, chosen, decoding, unfinished, batch_size, advance)
    outputs = [{"key": one.key, "references": one.references, "spoken": one.spoken} for one in told]
    shown, pictures = _pictures(data, told, speaker.images.max_pixels)
    result = Result(
        measurement="captioning",
        model=model,
        data=data.name,
        settings=settings,
        scores={**_text_scores(told, transcription), **_loss_scores(speaker, data, told)},
        keys=[one.key for one in told],
        figures={"asked": len(chosen), "shown": shown},
        outputs=outputs,
        pictures=pictures,
        about=measured_on(speaker, time.monotonic() - began),
    )
    unfinished.finish()
    return result


def _text_scores(told: Sequence[Told], transcription: bool) -> dict[str, Scores]:
    spoken, true = [one.spoken for one in told], [one.references for one in told]
    scores = {
        "exact match": exact_match(spoken, true),
        "BLEU-4": bleu4(spoken, true),
        "ROUGE-L": rouge_l(spoken, true),
        "CIDEr-D": cider_d(spoken, true),
    }
    if any(numbers_in(text) for some in true for text in some):
        scores["numbers"] = numbers_read(spoken, true)
    if transcription:
        scores["character errors"] = character_error_rate(spoken, true)
        scores["word errors"] = word_error_rate(spoken, true)
    return scores


def _loss_scores(speaker: Speaker, data: Source, told: Sequence[Told]) -> dict[str, Scores]:
    """Loss and picture gain; none for a single image, which no other caption could be given.

    Samples are shuffled before they are cut into parts: neighbours in a source may be alike, and images are dealt within a
    part. One that cannot be read as training reads it (of several captions, the one that is learned may be empty) counts
    for nothing.
    """
    if len(told) < 2:
        return {}
    reader = SampleReader(data, speaker.images, speaker.captions, speaker.model.config)
    losses = np.zeros((len(told), 3))
    order = np.random.default_rng(0).permutation(len(told))
    for part in np.array_split(order, math.ceil(len(told) / _DEALT)):
        read = reader.read([Draw(0, told[i].number) for i in part])
        usable = [(i, one.sample) for i, one in zip(part, read, strict=True) if isinstance(one, ReadSample)]
        if len(usable) > 1:
            losses[[i for i, _ in usable]] = paired_losses(speaker.model, [sample for _, sample in usable])
    return held_out_scores(losses)


def _pictures(data: Source, told: Sequence[Told], max_pixels: int) -> tuple[dict[str, int], dict[str, Image.Image]]:
    """The first images, and the first others whose captions are not exact: their places by file name, and themselves."""
    wrong = [place for place, one in enumerate(told) if place >= SHOWN and not one.exact]
    places = [*range(min(SHOWN, len(told))), *wrong[:_FAILURES_SHOWN]]
    shown = {f"image-{place}.png": place for place in places}
    return shown, {name: thumbnail(data[told[place].number].image, _SIDE, max_pixels) for name, place in shown.items()}
