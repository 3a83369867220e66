"""Comparison: models side by side, on measurements that several of them share.

In: folders of models with stored results. Out: each score of each model with its interval, and how much it differs from the
first model's by a paired bootstrap: both are resampled in the same way, because images that are hard for one model are
mostly hard for the other.

Results are the same measurement if set and settings are exactly the same. If no other model has such a result, how images
are prepared may differ, because the size of an image belongs to an encoder; pages then say so. Images are paired by their
keys; where the keys differ, a key that occurs twice is left out, because its rows cannot be paired. Scores that are counted
in tokens are compared only between models of the same tokenizer: a loss per token is lower where tokens are shorter.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genlip.evaluate.model_page import stored_results
from genlip.evaluate.result import IMAGE_SETTINGS, Result
from genlip.evaluate.scores import Difference, Scores, difference

__all__ = ["Alone", "Comparison", "Pairing", "Shared", "compare_models", "paired", "short_names", "tokenizers"]


_ALL = ("all scores",)
_IN_TOKENS = {"captioning": ("loss", "picture gain"), "readout": _ALL, "attention": _ALL}  # measurements' scores


@dataclass(frozen=True)
class Shared:
    """A measurement that at least two models have: their results by model, in the order of the models."""

    measurement: str
    data: str
    results: Mapping[str, Result]

    @property
    def first(self) -> str:
        """The model that the others are compared with."""
        return next(iter(self.results))

    @property
    def image_settings(self) -> dict[str, dict[str, Any]]:
        """How images were prepared, by model; empty if it was the same for all."""
        of_models = {model: _split(result)[1] for model, result in self.results.items()}
        return of_models if len({str(settings) for settings in of_models.values()}) > 1 else {}

    @property
    def scores(self) -> list[str]:
        """Names of the scores that at least two results have, in the first one's order."""
        names = list(dict.fromkeys(name for result in self.results.values() for name in result.scores))
        return [name for name in names if sum(name in result.scores for result in self.results.values()) > 1]


@dataclass(frozen=True)
class Alone:
    """A result that no other model has with the same set and settings."""

    model: str
    result: Result


@dataclass(frozen=True, repr=False)
class Comparison:
    """Models, what they share, and what only one of them has."""

    models: tuple[str, ...]
    shared: Sequence[Shared]
    alone: Sequence[Alone]

    def __repr__(self) -> str:
        """One line; `genlip.comparison_text` gives the tables of `genlip compare`."""
        return f"<Comparison of {', '.join(self.models)}: {len(self.shared)} shared measurements>"


@dataclass(frozen=True)
class Pairing:
    """The difference of a score to the first model's, and on how many images that both have."""

    difference: Difference
    images: int


def tokenizers(first: Result, second: Result, name: str) -> Literal["no matter", "same", "unknown", "different"]:
    """Whether a score of both is counted in the same tokens; results of older versions do not record the tokenizer."""
    inner = str(first.settings.get("measurement", "")) if first.measurement == "resolution" else first.measurement
    counted = _IN_TOKENS.get(inner, ())
    if counted != _ALL and name.partition(" at ")[0] not in counted:
        return "no matter"
    known = [result.about.get("tokenizer") for result in (first, second)]
    if None in known:
        return "unknown"
    return "same" if known[0] == known[1] else "different"


def compare_models(folders: Sequence[str]) -> Comparison:
    """Compare models by their stored results; a folder is a model's or that of its evaluations.

    Raises ValueError for fewer than two models, for one named twice, and where nothing is stored.
    """
    if len(folders) < 2 or len(set(folders)) < len(folders):
        raise ValueError(f"models to compare: {', '.join(folders) or 'none'}; need at least 2, each named once")
    by_identity: dict[tuple[str, str, str], dict[str, Result]] = {}
    for folder in folders:
        for result in stored_results(folder)[1]:
            by_identity.setdefault(result.identity, {})[folder] = result
    shared = [Shared(kind, data, results) for (kind, data, _), results in by_identity.items() if len(results) > 1]
    single = [pair for results in by_identity.values() if len(results) == 1 for pair in results.items()]
    others, alone = _prepared_differently(single)
    return Comparison(tuple(folders), [*shared, *others], alone)


def _prepared_differently(single: Sequence[tuple[str, Result]]) -> tuple[list[Shared], list[Alone]]:
    """Of results that only one model has, those that differ from other models' in the preparation of images alone.

    A model with several such results is left out: which of them is meant is not known.
    """
    groups: dict[str, list[tuple[str, Result]]] = {}
    for model, result in single:
        rest = _split(result)[0]
        groups.setdefault(json.dumps([result.measurement, result.data, rest], sort_keys=True), []).append((model, result))
    shared, alone = [], []
    for some in groups.values():
        times = Counter(model for model, _ in some)
        once = {model: result for model, result in some if times[model] == 1}
        if len(once) > 1:
            shared.append(Shared(some[0][1].measurement, some[0][1].data, once))
        alone += [Alone(model, result) for model, result in some if len(once) < 2 or model not in once]
    return shared, alone


def _split(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a result apart from those of its images, and these."""
    images = {name: value for name, value in result.settings.items() if name in IMAGE_SETTINGS}
    return {name: value for name, value in result.settings.items() if name not in IMAGE_SETTINGS}, images


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Distinct short names of folders: their paths without the parts that all begin with, and that all end with."""
    parts = [Path(model).parts for model in models]
    longest = min(map(len, parts)) - 1  # a part stays of each
    start = next((n for n in range(longest) if len({path[n] for path in parts}) > 1), longest)
    end = next((n for n in range(longest - start) if len({path[-1 - n] for path in parts}) > 1), longest - start)
    return {model: str(Path(*path[start : len(path) - end])) for model, path in zip(models, parts, strict=True)}


def paired(first: Result, second: Result, name: str) -> Pairing | None:
    """How much higher the second result's score of that name is, on the images of both.

    None where one of them lacks the score, they have no image in common, or the scores have different aggregators or are
    counted in different tokens.
    """
    if name not in first.scores or name not in second.scores or tokenizers(first, second, name) == "different":
        return None
    one, other = first.scores[name], second.scores[name]
    if one.aggregator is not other.aggregator or one.evidence.shape[1:] != other.evidence.shape[1:]:
        return None
    if list(first.keys) != list(second.keys):
        times = [Counter(result.keys) for result in (first, second)]
        places = {key: place for place, key in enumerate(second.keys)}
        once = [(place, key) for place, key in enumerate(first.keys) if all(count[key] == 1 for count in times)]
        common = [(place, places[key]) for place, key in once]
        if not common:
            return None
        mine, theirs = np.array(common).T
        one, other = Scores(one.evidence[mine], one.aggregator), Scores(other.evidence[theirs], other.aggregator)
    return Pairing(difference(one, other), len(one.evidence))
