"""Captioning: how close generated captions of images come to the true ones.

In: a speaker and a source. Out: a `Result` with text scores against all references of each image, the share of numbers
that were read correctly, the loss of the true captions, and the picture gain. Captions are greedy unless asked otherwise, as
in the paper ("Let ViT speak").

Captions can be stored in a file as they are generated, so that a stopped measurement of many images goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genlip.data.order import Draw
from genlip.data.samples import ReadSample, SampleReader
from genlip.data.sources import Source, open_source
from genlip.encoder import Encoder, weights_fingerprint
from genlip.evaluate.captioning.caption_scores import bleu4, cider_d, exact_match, rouge_l
from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.evaluate.captioning.numbers_read import numbers_in, numbers_read
from genlip.evaluate.captioning.page import SHOWN
from genlip.evaluate.captioning.resumable import CaptionEntry, captions_digest, resumable_captions
from genlip.evaluate.captioning.transcription import character_error_rate, word_error_rate
from genlip.evaluate.held_out import held_out_scores, paired_losses
from genlip.evaluate.image_batches import spread
from genlip.evaluate.partial_results import PartialResults
from genlip.evaluate.requirements import opened, require_speaker
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores
from genlip.model.decoding import Decoding
from genlip.report.html import thumbnail
from genlip.speaker import Speaker

__all__ = ["CaptioningConfig", "measure_captioning"]

_FAILURES_SHOWN = 8
_SIDE = 224  # pixels of a stored picture; the page shows about half
_DEALT = 512  # samples that are in memory at once, among which images are exchanged


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig:
    """How captions are generated and scored.

    Attributes:
        batch_size: images captioned together.
        transcription: also give the rates of wrong characters and words, for sources whose captions are what an image says.
        max_tokens, temperature, top_k, top_p, repetition_stop, seed: see `Decoding`; the default is greedy decoding.
    """

    batch_size: int = 64
    transcription: bool = False
    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_stop: int = 0
    seed: int = 0

    def decoding(self) -> dict[str, Any]:
        """The fields that are `Decoding`'s."""
        return {name: value for name, value in asdict(self).items() if name not in ("batch_size", "transcription")}


def measure_captioning(
    encoder: Encoder,
    data: Source | str | Path,
    config: CaptioningConfig = CaptioningConfig(),
    *,
    model: str = "",
    limit: int = 500,
    partial: Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Caption images of a source, spread evenly over it, and score the captions.

    encoder  a `Speaker`
    data     a text or path is opened by `genlip.open_source`
    model    the model's name, as results record it
    limit    how many images; all where the source has no more
    partial  a file for the captions generated so far; the same measurement continues from it, and removes it at its end
    advance  is called with the number of newly captioned images, skipped ones included

    Raises ValueError for an empty source, one in which no image can be used, one without captions, and an encoder that does
    not speak.
    """
    data = opened(data, open_source)
    began, speaker = time.monotonic(), require_speaker(encoder, "captioning")
    decoding = speaker.decoding(**config.decoding())
    if not len(data) or limit < 1 or config.batch_size < 1:
        raise ValueError(
            f"{data.name}: {len(data)} examples, {limit} to caption, {config.batch_size} at a time: all must be at least 1"
        )
    chosen = spread(len(data), limit)
    settings = _settings(speaker, data, chosen, decoding)
    weights = weights_fingerprint(speaker.model) if partial else ""
    purpose = {"model": model, "data": data.name, "settings": settings, "weights": weights}
    found = PartialResults(partial, purpose, CaptionEntry)
    captions = resumable_captions(speaker, data, chosen, decoding, found, config.batch_size, advance)
    shown, pictures = _pictures(data, captions, speaker.max_pixels)
    result = Result(
        measurement="captioning",
        model=model,
        data=data.name,
        settings=settings,
        scores={**_text_scores(captions, config.transcription), **_loss_scores(speaker, data, captions)},
        keys=[one.key for one in captions],
        figures={"asked": len(chosen), "shown": shown},
        outputs=[{"key": one.key, "references": one.references, "spoken": one.spoken} for one in captions],
        pictures=pictures,
        about=measured_on(speaker, time.monotonic() - began),
    )
    found.finish()
    return result


def _settings(speaker: Speaker, data: Source, chosen: Sequence[int], decoding: Decoding) -> dict[str, Any]:
    return settings_of(
        speaker,
        images=len(chosen),
        prompt=speaker.captions.config.prompt,
        captions=captions_digest(data, chosen),
        **{name: value for name, value in asdict(decoding).items() if name != "end_ids"},
    )


def _text_scores(captions: Sequence[GeneratedCaption], transcription: bool) -> dict[str, Scores]:
    spoken, true = [one.spoken for one in captions], [one.references for one in captions]
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


def _loss_scores(speaker: Speaker, data: Source, captions: Sequence[GeneratedCaption]) -> dict[str, Scores]:
    """Loss and picture gain; none for a single image, because there is no other image to exchange it with.

    Samples are shuffled before they are cut into parts: neighbours in a source may be alike, and images are exchanged within
    a part. A sample that training could not read (of several captions, the chosen one may be empty) does not count.
    """
    if len(captions) < 2:
        return {}
    reader = SampleReader(data, speaker.images, speaker.captions, speaker.model.config)
    losses = np.zeros((len(captions), 3))
    order = np.random.default_rng(0).permutation(len(captions))
    for part in np.array_split(order, math.ceil(len(captions) / _DEALT)):
        read = reader.read([Draw(0, captions[i].number) for i in part])
        usable = [(i, one.sample) for i, one in zip(part, read, strict=True) if isinstance(one, ReadSample)]
        if len(usable) > 1:
            losses[[i for i, _ in usable]] = paired_losses(speaker.model, [sample for _, sample in usable])
    return held_out_scores(losses)


def _pictures(
    data: Source, captions: Sequence[GeneratedCaption], max_pixels: int
) -> tuple[dict[str, int], dict[str, Image.Image]]:
    """The first images, and the first others whose captions are not exact: their places by file name, and themselves."""
    wrong = [place for place, one in enumerate(captions) if place >= SHOWN and not one.exact]
    places = [*range(min(SHOWN, len(captions))), *wrong[:_FAILURES_SHOWN]]
    shown = {f"image-{place}.png": place for place in places}
    return shown, {name: thumbnail(data[captions[place].number].image, _SIDE, max_pixels) for name, place in shown.items()}
