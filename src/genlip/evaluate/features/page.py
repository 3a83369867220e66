"""Page: the part of a page about patch features.

In: a stored result. Out: a section with pictures of components, nearest patches and norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genlip.evaluate.result import Result
from genlip.report import charts, html
from genlip.report.html import Headline, Section

__all__ = ["section", "shown_patches"]

_PLACES = 10  # places of a table


def section(result: Result) -> Section:
    """The page's part on stored views."""
    parts = [
        html.headlines(_headlines(result)),
        html.paragraphs(_MAPS),
        html.side_by_side(*(_strip(result, number) for number in range(len(result.keys)))),
    ]
    if result.figures["neighbours"]:
        parts += [html.paragraphs(_NEAREST), *(_likeness(result, one) for one in result.figures["neighbours"])]
    return Section(f"What the features of {result.data} look like", "".join([*parts, _lengths(result)]))


_MAPS = (
    "Each image, then its patches in the colours of the three directions in which the features of all these patches differ "
    "most: patches of one colour are alike to the model, in one image or in two. Then how long each patch's features "
    "are before the last LayerNorm, from dark to bright; outliers are outlined."
)


_NEAREST = (
    "Patches that stand out most from all others, the first of each row, and the patches of other images that are most like "
    "them by the cosine of their features, at most one of each image. A model that has learned what things are finds the "
    "same kind of thing in other colours and places. The patch is outlined; around it are its neighbours."
)


_LENGTHS = (
    "How long the features of patches are, as vectors. Before the last LayerNorm a few may be far longer than the others: "
    "they hold what concerns the whole image, and often attention sinks into their patches. A patch counts as an outlier "
    "above the median by more than 6 times the median absolute deviation. After the LayerNorm, which makes all features "
    "about equally long, outliers hide."
)


def _headlines(result: Result) -> list[Headline]:
    scores, explained = result.scores["outlier patches"], result.figures["explained variance"]
    low, high = scores.interval()
    return [
        Headline(f"{sum(explained):.1%}", "variance in colours", " + ".join(f"{share:.1%}" for share in explained)),
        Headline(f"{scores.score:.2%}", "outlier patches", f"far longer than the others ({low:.2%} to {high:.2%})"),
        Headline(f"{len(result.keys)}", "images", f"{int(scores.evidence[:, 1].sum()):,} patches"),
    ]


def _strip(result: Result, number: int) -> str:
    rows, columns = result.outputs[number]["grid"]
    pictures = [result.pictures[f"{what}-{number}.png"] for what in ("image", "colours", "lengths")]
    return html.image_row(pictures, result.keys[number], f"{rows} rows, {columns} columns of patches")


def _likeness(result: Result, one: dict[str, Any]) -> str:
    number = result.figures["neighbours"].index(one)
    pictures = [result.pictures[f"like-{number}-{place}.png"] for place in range(len(shown_patches(one)))]
    nearest = ", ".join(f"{entry['cosine']:.2f} {_where(result, entry['patch'])}" for entry in one["nearest"])
    return html.image_row(pictures, _where(result, one["patch"]), f"nearest: {nearest}", side=120)


def _where(result: Result, patch: Sequence[int]) -> str:
    image, row, column = patch
    return f"{result.keys[image]}, row {row + 1}, column {column + 1}"


def _lengths(result: Result) -> str:
    before, after = ([x for output in result.outputs for x in output[name]] for name in ("before", "after"))
    drawn = html.side_by_side(
        charts.histogram("Before the last LayerNorm", before, "length of a vector", "patches"),
        charts.histogram("After it", after, "length of a vector", "patches"),
    )
    places = [
        [f"row {row + 1}, column {column + 1}", f"{times} of {images} images"]
        for row, column, times, images in result.figures["places"][:_PLACES]
    ]
    listed = html.table(["where outliers are", "how often"], places) if places else html.paragraphs("No patch is one.")
    return html.paragraphs(_LENGTHS, f"The limit here is a length of {result.figures['limit']:.3g}.") + drawn + listed


def shown_patches(one: dict[str, Any]) -> list[list[int]]:
    """A query and its neighbours."""
    return [one["patch"], *(entry["patch"] for entry in one["nearest"])]
