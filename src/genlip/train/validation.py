"""Measuring a model while it trains: held-out loss, picture gain, and what it says about a few images.

In: a state. Out: figures and spoken captions. Rank 0 measures alone, on whole weights, so the other ranks only wait.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

import torch

from genlip.data.samples import SampleReader
from genlip.data.sources import Source
from genlip.evaluate.captioning.generated import GeneratedCaption, generate_captions
from genlip.evaluate.held_out import HeldOut, held_out
from genlip.model.genlip import GenLIP
from genlip.model.pack import Sample
from genlip.recipes.run import Run
from genlip.speaker import Speaker
from genlip.train.precision import autocast
from genlip.train.state import State

__all__ = ["HeldOutSet", "Measured", "held_out_set", "measure"]

log = logging.getLogger(__name__)

_MAX_TOKENS = 96  # of a caption spoken during training


@dataclass(frozen=True)
class HeldOutSet:
    """What a run is measured on: usable samples from all over the held-out source, and the source itself."""

    samples: list[Sample]
    source: Source


@dataclass(frozen=True)
class Measured:
    """Loss and picture gain, and a few true and spoken captions."""

    held_out: HeldOut
    spoken: list[GeneratedCaption]


def held_out_set(reader: SampleReader, source: Source, run: Run) -> HeldOutSet:
    """Read the held-out samples. Raises ValueError if fewer than two are usable."""
    samples, skipped = dataclasses.replace(reader, source=source).some(run.data.held_out_samples)
    for skip in skipped:
        log.warning("skipped held-out %s", skip.message)
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} usable held-out samples: need at least 2")
    return HeldOutSet(samples, source)


def measure(state: State, on: HeldOutSet | None) -> Measured | None:
    """Measure with whole weights, averaged ones if there are; all ranks must ask, rank 0 (which has `on`) is answered."""
    model = _whole_model(state)
    if model is None or on is None:
        return None
    training = model.training
    with autocast(state.precision, state.world.device):
        found = held_out(model, on.samples)
        model.eval()
        speaker = Speaker(model, state.run.images, state.captions)
        chosen = range(min(state.run.spoken, len(on.source)))
        spoken = generate_captions(speaker, on.source, chosen, max_tokens=_MAX_TOKENS)
    model.train(training)
    return Measured(found, spoken)


def _whole_model(state: State) -> GenLIP | None:
    """The model itself where it is whole, else a copy on rank 0."""
    if not state.sharded and state.average is None:
        return state.model if state.world.leads else None
    weights = state.weights()
    if not state.world.leads:
        return None
    with torch.device("meta"):
        copy = GenLIP(state.run.model, state.model.attention)
    copy.load_state_dict(weights, assign=True)
    return copy.to(state.world.device).eval()
