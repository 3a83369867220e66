"""Attention: what patches and captions attend to, layer by layer, and whether the first patch is an attention sink.

In: a speaker and captioned images. Out: a `Result` with the shares of attention in `attention_mass.MASSES`. The page also
compares two models, with the gate and without, as the paper does (section on attention allocation).

Every image counts the same, however long its caption. A share says little by itself: of 16 patches, the first one gets a
sixteenth of evenly spread attention. So each share stands beside that of attention spread evenly.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genlip.data.order import Draw
from genlip.data.samples import ReadSample, SampleReader, Skipped
from genlip.data.sources import Source, open_source
from genlip.encoder import Encoder
from genlip.evaluate.attention.attention_mass import MASSES, AttentionMass, attention_mass, predicts_supervised
from genlip.evaluate.image_batches import spread
from genlip.evaluate.requirements import opened, require_speaker
from genlip.evaluate.result import Result, measured_on, settings_of
from genlip.evaluate.scores import Scores

__all__ = ["measure_attention"]

log = logging.getLogger(__name__)


def measure_attention(
    encoder: Encoder,
    data: Source | str | Path,
    *,
    model: str = "",
    limit: int = 200,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Measure where attention goes while the true captions are read after their prompt, as in training.

    encoder   a `Speaker`
    data      a text or path is opened by `genlip.open_source`
    model     the model's name, as results record it
    limit     how many images, spread evenly over the set
    batch_size images that are read together
    advance   is called with the number of newly finished images, skipped ones included

    Scores are the `MASSES`, means over layers, heads and rows. Figures: `layers` (each mass by layer, with intervals over
    images), `heads` (by layer and head), `even` (each mass if attention were spread evenly), `gate` (mean gate by layer, at
    patches and at text; None without gates), `first_patch_norm` (by layer, over the median patch). Outputs: for each image
    the masses by layer. Raises ValueError where no image is left, or limit or batch_size is below 1.
    """
    data = opened(data, open_source)
    started, speaker = time.perf_counter(), require_speaker(encoder, "attention")
    if limit < 1 or batch_size < 1:
        raise ValueError(f"limit is {limit} and batch_size {batch_size}: both must be at least 1")
    chosen = spread(len(data), limit)
    reader = SampleReader(data, speaker.images, speaker.captions, speaker.model.config)
    keys: list[str] = []
    found: list[AttentionMass] = []
    for start in range(0, len(chosen), batch_size):
        some = list(_usable(reader, chosen[start : start + batch_size]))
        if some:
            found.append(attention_mass(speaker.model, [one.sample for one in some]))
            keys += [one.key for one in some]
        advance(len(chosen[start : start + batch_size]))
    if not found:
        raise ValueError(
            f"{data.name}: none of {len(chosen)} images can be measured: need an image that can be read, with a caption of "
            "at least 1 token and its end"
        )
    masses = np.concatenate([one.masses for one in found])
    return Result(
        measurement="attention",
        model=model,
        data=data.name,
        settings=settings_of(speaker, images=len(chosen), prompt=speaker.captions.config.prompt),
        scores={name: Scores.mean(masses[..., i].mean(axis=(1, 2)).tolist()) for i, name in enumerate(MASSES)},
        keys=keys,
        figures=_figures(masses, found),
        outputs=[dict(zip(MASSES, image.mean(axis=1).T.round(6).tolist(), strict=True)) for image in masses],
        about=measured_on(speaker, time.perf_counter() - started),
    )


def _usable(reader: SampleReader, indices: Sequence[int]) -> Iterator[ReadSample]:
    """The samples of these examples; those that cannot be used are named in the log."""
    for one in reader.read([Draw(0, index) for index in indices]):
        if isinstance(one, Skipped):
            log.warning("skipped %s", one.message)
        elif not predicts_supervised(one.sample):
            log.warning("skipped %s: its only learned token is predicted by a patch, none by text", one.key)
        else:
            yield one


def _figures(masses: np.ndarray, found: Sequence[AttentionMass]) -> dict[str, Any]:
    """`Result.figures`, from Float64[i L h 5] and what else was found."""
    even = np.concatenate([one.even for one in found]).mean(axis=0)
    gates = [one.gates for one in found if one.gates is not None]
    gate = np.concatenate(gates).mean(axis=0) if gates else None
    return {
        "layers": {name: _by_layer(masses[..., i].mean(axis=2)) for i, name in enumerate(MASSES)},
        "heads": {name: masses[..., i].mean(axis=0).round(6).tolist() for i, name in enumerate(MASSES)},
        "even": dict(zip(MASSES, even.tolist(), strict=True)),
        "gate": None if gate is None else dict(zip(("patches", "text"), gate.T.round(6).tolist(), strict=True)),
        "first_patch_norm": np.concatenate([one.norms for one in found]).mean(axis=0).round(6).tolist(),
    }


def _by_layer(masses: np.ndarray) -> dict[str, list[float]]:
    """Float64[i L] -> the mean of each layer, and its interval over images."""
    scores = [Scores.mean(layer.tolist()) for layer in masses.T]
    low, high = zip(*(layer.interval() for layer in scores), strict=True)
    return {"value": [layer.score for layer in scores], "low": list(low), "high": list(high)}
