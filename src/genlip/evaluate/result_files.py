"""Result files: stored results of a model, written and read back.

In: a `Result`. Out: `result.json` and PNG files beside it, and the same read back.

A folder of evaluations holds one folder per measurement, set and settings, named after them: measuring the same again
replaces the old result, and other settings have a folder of their own.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from genlip.data.images import decode
from genlip.evaluate.aggregators import AGGREGATORS, bleu, error_rate, mean_iou
from genlip.evaluate.registry import schema_of
from genlip.evaluate.result import Result
from genlip.evaluate.schema import check_stored
from genlip.evaluate.scores import Scores
from genlip.model.fields import checked, read_fields, shown
from genlip.model.reading import read_json
from genlip.model.writing import finite_or_none, to_json, write_whole

__all__ = ["evaluations_folder", "read_result", "read_results", "write_result"]

log = logging.getLogger(__name__)

_FILE, _OLD, _FORMAT = "result.json", "result.json.old", 1
_COUNTED = (bleu, error_rate, mean_iou)  # aggregators whose evidence cannot be negative


def evaluations_folder(model: str | Path) -> Path:
    """Where the results of a model are: in its folder; for Hub ids and other libraries' models in `evaluations/` here."""
    folder = Path(model)
    return folder / "evaluations" if folder.is_dir() else Path("evaluations") / re.sub(r"[/\\:]+", "--", str(model))


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
        check_stored(stored, schema_of(str(stored.get("measurement"))))
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
    formula = next(name for name, known in AGGREGATORS.items() if known is scores.aggregator)
    return {
        "value": finite_or_none(scores.score),
        "interval": [finite_or_none(low), finite_or_none(high)],
        "formula": formula,
        "evidence": scores.evidence.tolist(),
    }


def _scores(entry: Mapping[str, Any], name: str) -> Scores:
    """Raises ValueError for evidence that does not fit the aggregator."""
    if entry["formula"] not in AGGREGATORS:
        raise ValueError(f"{name}.formula is {shown(entry['formula'])}: it must be one of {', '.join(AGGREGATORS)}")
    formula = AGGREGATORS[entry["formula"]]
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


def _checked(name: str) -> str:
    """The name of a picture, which must lie in the result's own folder."""
    if not re.fullmatch(r"[\w-]+\.png", name):
        raise ValueError(f"a picture is named {name!r}: need letters, digits, _ or -, then .png")
    return name
