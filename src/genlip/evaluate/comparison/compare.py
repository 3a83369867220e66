"""Comparison: models side by side, on measurements that several of them share.

In: folders of models with stored results. Out: each score of each model with its interval, and how much it differs from the
first model's by a paired bootstrap: both are resampled in the same way, because images that are hard for one model are
mostly hard for the other.

Results are the same measurement if set and settings are exactly the same. Images are paired by their keys; where the
keys differ, a key that occurs twice is left out, because its rows cannot be paired. Scores that are counted in tokens are
compared only between models of the same tokenizer: a loss per token is lower where tokens are shorter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from genlip.evaluate.model_page import stored_results
from genlip.evaluate.result import Result
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
    def scores(self) -> list[str]:
        """Names of the scores that at least two results have, in the first one's order."""
        names = list(dict.fromkeys(name for result in self.results.values() for name in result.scores))
        return [name for name in names if sum(name in result.scores for result in self.results.values()) > 1]


@dataclass(frozen=True)
class Alone:
    """A result that no other model has with the same set and settings."""

    model: str
    result: Result


@dataclass(frozen=True)
class Comparison:
    """Models, what they share, and what only one of them has."""

    models: tuple[str, ...]
    shared: Sequence[Shared]
    alone: Sequence[Alone]


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
    shared, alone = [], []
    for (measurement, data, _), results in by_identity.items():
        if len(results) > 1:
            shared.append(Shared(measurement, data, results))
        else:
            alone += [Alone(model, result) for model, result in results.items()]
    return Comparison(tuple(folders), shared, alone)


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
