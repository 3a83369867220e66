"""Result: what one measurement of one model on one set found, kept in a folder.

In: scores over images, raw outputs, pictures. Out: `result.json` and PNG files beside it, and the same read back. A page is
made of stored results alone, without model or data; so is a comparison, which resamples the evidence that scores keep.

A folder of evaluations holds one folder per measurement, set and settings, named after them: measuring the same again takes
the old result's place, other settings stand beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genlip.data.images import ImageLike, decode
from genlip.evaluate.fingerprint import tokenizer_fingerprint
from genlip.evaluate.formulas import FORMULAS, bleu, error_rate, mean_iou
from genlip.evaluate.schemas import check_stored
from genlip.evaluate.scores import Scores
from genlip.machine import machine, versions
from genlip.model.fields import checked, read_fields, shown
from genlip.model.reading import read_json
from genlip.model.writing import escaped, to_json, write_whole
from genlip.speaker import Speaker

__all__ = ["Result", "evaluations_folder", "measured_on", "read_result", "read_results", "settings_of", "write_result"]

log = logging.getLogger(__name__)

_FILE, _OLD, _FORMAT = "result.json", "result.json.old", 1
_COUNTED = (bleu, error_rate, mean_iou)  # formulas whose evidence cannot be negative


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was found.

    Attributes:
        measurement: its name, as `genlip eval` knows it.
        model: the model's folder or id.
        data: the set, as the user named it.
        settings: what else the figures depend on: images, prompt, seeds, sizes of probes; JSON-ready.
        scores: by name, each over the images of `keys` in that order.
        keys: names of the images that were measured.
        figures: numbers that are not scores over images, such as a value per layer or class; JSON-ready.
        outputs: what the model said or chose for each image, in the order of `keys`; JSON-ready. May be empty.
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


def settings_of(speaker: Speaker, **more: Any) -> dict[str, Any]:
    """The settings of a measurement: how the speaker sees images, and what else is given."""
    images = speaker.images
    seen = {"size": images.size} if images.resize == "fixed" else {"patches": [images.min_patches, images.max_patches]}
    return {"resize": images.resize, **seen, **more}


def measured_on(speaker: Speaker, seconds: float) -> dict[str, Any]:
    """`Result.about`: machine, precision, versions, how long it took, and which tokenizer the model has, if any."""
    about = {
        "machine": machine(speaker.model.device),
        "precision": str(speaker.model.ln_post.weight.dtype).removeprefix("torch."),
        "versions": versions(),
        "seconds": round(seconds, 1),
    }
    return about | ({"tokenizer": tokenizer_fingerprint(speaker.captions.tokenizer)} if speaker.speaks else {})


def evaluations_folder(model: str | Path) -> Path:
    """Where the results of a model lie: in its folder; for an id on the Hub in `evaluations/` here."""
    folder = Path(model)
    return folder / "evaluations" if folder.is_dir() else Path("evaluations") / str(model).replace("/", "--")


def write_result(result: Result, folder: str | Path) -> Path:
    """Store a result in a folder of evaluations; returns its own folder. The JSON file is written last, in one step.

    Raises ValueError for a score that is not of the images of `keys`, and a picture that would lie elsewhere.
    """
    _check_images(result.keys, result.scores)
    own = Path(folder) / result.folder_name
    pictures = {own / _checked(name): decode(picture) for name, picture in result.pictures.items()}  # it may be its own file
    stored = {"format": _FORMAT} | {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    stored |= {
        "scores": {name: _stored(scores) for name, scores in result.scores.items()},
        "pictures": list(result.pictures),
    }
    with ExitStack() as stack:  # which takes the last first: the file of figures comes into its place after its pictures
        stack.enter_context(write_whole(own / _FILE)).write_text(to_json(stored) + "\n", encoding="utf8")
        for file, image in pictures.items():
            image.save(stack.enter_context(write_whole(file)), "PNG")
        if (own / _FILE).is_file():
            (own / _FILE).replace(own / _OLD)
    for file in {*own.glob("*.png"), own / _OLD} - pictures.keys():
        file.unlink(missing_ok=True)
    return own


def read_result(folder: str | Path) -> Result:
    """A stored result; its pictures are paths. Raises ValueError that says what is wrong with the file."""
    file = Path(folder) / _FILE
    try:
        stored = checked(read_json(file), dict[str, Any], "it")
        if stored.get("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT}: measure again, or use the version that wrote it")
        check_stored(stored)
        del stored["format"]
        stored["scores"] = {name: _scores(entry, f"scores.{name}") for name, entry in stored["scores"].items()}
        _check_images(stored["keys"], stored["scores"])
        stored["pictures"] = {name: file.parent / _checked(name) for name in stored.get("pictures", [])}
        return read_fields(Result, stored)
    except ValueError as error:
        raise ValueError(f"{file}: not a stored result: {error}") from error


def read_results(folder: str | Path) -> list[Result]:
    """All results of a folder of evaluations, in order of their names; empty if there is none."""
    for file in sorted(Path(folder).glob(f"*/{_OLD}")):
        if not file.with_name(_FILE).is_file():
            log.warning("%s: a new result was being put into the place of this one; measure again", file)
    return [read_result(file.parent) for file in sorted(Path(folder).glob(f"*/{_FILE}"))]


def _stored(scores: Scores) -> dict[str, Any]:
    low, high = scores.interval()
    formula = next(name for name, known in FORMULAS.items() if known is scores.formula)
    return {
        "value": _number(scores.score),
        "interval": [_number(low), _number(high)],
        "formula": formula,
        "evidence": scores.evidence.tolist(),
    }


def _scores(entry: Mapping[str, Any], name: str) -> Scores:
    """Raises ValueError for evidence that is not of the formula's kind."""
    if entry["formula"] not in FORMULAS:
        raise ValueError(f"{name}.formula is {shown(entry['formula'])}: it must be one of {', '.join(FORMULAS)}")
    formula = FORMULAS[entry["formula"]]
    try:
        scores = Scores(np.asarray(entry["evidence"], dtype=np.float64), formula)
        fits = scores.evidence.ndim == 2 and isinstance(scores.score, float)
    except (ValueError, TypeError, ArithmeticError, IndexError):
        fits = False
    if not fits or (formula in _COUNTED and scores.evidence.min(initial=0) < 0):
        raise ValueError(f"{name}.evidence is not what {entry['formula']} needs: rows of numbers, as many in each")
    return scores


def _check_images(keys: Sequence[str], some: Mapping[str, Scores]) -> None:
    """Comparisons pair rows of evidence by the keys."""
    for name, scores in some.items():
        if scores.evidence.ndim != 2 or len(scores.evidence) != len(keys):
            raise ValueError(
                f"{name}: evidence of shape {scores.evidence.shape} for {len(keys)} images; need a row for each"
            )


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if np.isnan(value) else float(value)


def _checked(name: str) -> str:
    """The name of a picture, which must lie in the result's own folder."""
    if not re.fullmatch(r"[\w-]+\.png", name):
        raise ValueError(f"a picture is named {name!r}: need letters, digits, _ or -, then .png")
    return name
