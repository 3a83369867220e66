"""Result: the outcome of one measurement of one model on one set.

In: scores over images, raw outputs, pictures. Out: a `Result`. A page is made of stored results alone, without model or
data; so is a comparison, which resamples the evidence that scores keep.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genlip.data.images import ImageLike
from genlip.encoder import Encoder
from genlip.evaluate.fingerprint import tokenizer_fingerprint
from genlip.evaluate.scores import Scores
from genlip.machine import machine, versions
from genlip.model.writing import escaped
from genlip.speaker import Speaker

__all__ = ["IMAGE_SETTINGS", "Result", "measured_on", "settings_of"]

# Settings of a result that say how images were prepared; the others are the measurement's own.
IMAGE_SETTINGS = ("resize", "size", "patches", "mean", "std", "interpolation")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one measurement.

    Attributes:
        measurement: its name, as `genlip eval` knows it.
        model: the model's folder or id.
        data: the set, as the user named it.
        settings: everything else that the figures depend on: images, prompt, seeds, sizes of probes; JSON-ready.
        scores: by name, each over the images of `keys` in that order.
        keys: names of the images that were measured.
        figures: numbers that are not scores over images, such as a value per layer or class; JSON-ready.
        outputs: what the model generated or chose for each image, in the order of `keys`; JSON-ready. May be empty.
        pictures: images that the page shows, by file name (`name.png`).
        about: machine, versions, seconds.
    """

    measurement: str
    model: str
    data: str
    settings: Mapping[str, Any]
    scores: Mapping[str, Scores]
    keys: Sequence[str]
    figures: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Any] = ()
    pictures: Mapping[str, ImageLike] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {one.score:.4f}" for name, one in list(self.scores.items())[:3])
        more = ", …" if len(self.scores) > 3 else ""
        what = f"{self.measurement} of {self.model or 'a model'} on {self.data}"
        return f"Result({what}, {len(self.keys)} images: {scores}{more})"

    @property
    def identity(self) -> tuple[str, str, str]:
        """Measurement, set and settings as text: results of two models with the same identity can be compared."""
        return self.measurement, self.data, json.dumps(self.settings, sort_keys=True)

    @property
    def folder_name(self) -> str:
        """Of the result, such as `captioning.scenes-1.3f9a02`."""
        data = re.sub(r"[^A-Za-z0-9]+", "-", self.data).strip("-")[-40:]
        digest = hashlib.sha256(escaped("|".join(self.identity)).encode()).hexdigest()
        return f"{self.measurement}.{data}.{digest[:6]}"


def settings_of(encoder: Encoder, **more: Any) -> dict[str, Any]:
    """The settings of a measurement: how the encoder prepares images, and what else is given."""
    return {**encoder.image_settings(), **more}


def measured_on(encoder: Encoder, seconds: float) -> dict[str, Any]:
    """`Result.about`: machine, precision, versions, duration, the encoder's own description, and its tokenizer, if any."""
    about = {
        "machine": machine(encoder.device),
        "precision": str(encoder.dtype).removeprefix("torch."),
        "versions": versions(),
        "seconds": round(seconds, 1),
        **encoder.description(),
    }
    if isinstance(encoder, Speaker) and encoder.speaks:
        about["tokenizer"] = tokenizer_fingerprint(encoder.captions.tokenizer)
    return about
