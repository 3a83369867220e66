"""The page's part on a segmentation: figures, bars by class, pictures beside their label maps, the sweep.

In: a stored result. Out: its section, made of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genlip.evaluate.aggregators import ratio
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores
from genlip.evaluate.segmentation.class_colours import legend
from genlip.report import charts, html
from genlip.report.formatting import percent
from genlip.report.html import Headline, Section

__all__ = ["section", "some_of"]

_BARS, _LISTED = 30, 10  # classes in a chart; where there are more, so many of the best and of the worst in a table
_UNKNOWN = "not measured"

_MEASURED = (
    "The model is frozen. A linear layer learned from {train} which class each pixel belongs to, from the features of the "
    "last layer at the patches; its predictions at patches are resized to pixels. Nothing else is trained, so the score "
    "measures the frozen features."
)
_READ = (
    "IoU of a class: of the pixels that have it in truth or by prediction, the share where both agree, summed over all test "
    "images. mIoU is the mean over classes that occur; pixels without a class are not counted. Outlines are as coarse as "
    "patches, so 100 % is not to be expected of any model."
)
_RATES = (
    "The learning rate was chosen by mIoU on training images that were held out; the test images were not used for it. "
    "The head was trained on the rest of the training images."
)

_ONE_RATE = "One learning rate was given; no image was held out to choose it."


def section(result: Result) -> Section:
    """The page's part on a stored segmentation."""
    parts = [
        html.paragraphs(_MEASURED.format(train=result.settings["train"]), _READ),
        html.headlines(_headlines(result)),
        html.side_by_side(_by_class(result.scores["mIoU"], result.figures["classes"]), html.key_value_table(_facts(result))),
        *_shown(result),
        html.paragraphs(_RATES if result.figures["images"]["held out"] else _ONE_RATE),
        _rates_table(result.figures),
        html.warning_list(_advice(result.figures)),
    ]
    return Section("Linear segmentation", "".join(parts))


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many there are."""
    return f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''} ({len(names)})"


def _headlines(result: Result) -> list[Headline]:
    notes = {"mIoU": "mean over classes", "pixel accuracy": "of all pixels that have a class"}
    return [
        Headline(percent(result.scores[name].score, _UNKNOWN), name, f"{note}; {_between(result.scores[name])}")
        for name, note in notes.items()
    ]


def _by_class(whole: Scores, classes: Sequence[Mapping[str, Any]]) -> str:
    """Bars with intervals, or of many classes the best and the worst as a table."""
    occurring = [place for place, one in enumerate(classes) if one["iou"] is not None]
    if len(classes) <= _BARS:
        scores = [Scores(whole.evidence[:, [place, len(classes) + place]], ratio) for place in occurring]
        return charts.bars("IoU of each class", [classes[place]["class"] for place in occurring], scores)
    ranked = sorted((classes[place] for place in occurring), key=lambda one: -one["iou"])
    few = ranked if len(ranked) <= 2 * _LISTED else [*ranked[:_LISTED], *ranked[-_LISTED:]]
    rows = [[one["class"], f"{one['iou']:.1%}", f"{one['learned_from']:,}"] for one in few]
    told = html.paragraphs(f"The best and the worst of {len(ranked)} classes that occur:")
    return f"<div>{told}{html.table(['class', 'IoU', 'pixels learned from'], rows)}</div>"


def _rates_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [f"{one['learning_rate']:g}", percent(one["mIoU"], _UNKNOWN), "chosen" if place == figures["chosen"] else ""]
        for place, one in enumerate(figures["sweep"])
    ]
    return html.table(["learning rate", "mIoU on held-out images", ""], rows)


def _facts(result: Result) -> dict[str, object]:
    counts = {f"images {what}": f"{number:,}" for what, number in result.figures["images"].items()}
    return {**counts, "epochs": result.settings["epochs"], "images of a step": result.settings["batch"]}


def _advice(figures: Mapping[str, Any]) -> Iterator[str]:
    rates = [one["learning_rate"] for one in figures["sweep"]]
    best = rates[figures["chosen"]]
    if len(rates) > 1 and best in (min(rates), max(rates)):
        more = "smaller" if best == min(rates) else "larger"
        yield f"The chosen rate, {best:g}, is at the end of those tried: a {more} one may do better (learning_rates)."
    missing = [one["class"] for one in figures["classes"] if not one["learned_from"]]
    if missing:
        yield f"No training pixel had these classes, so they could not be learned: {some_of(missing)}."


def _shown(result: Result) -> Iterator[str]:
    """The first images in rows: image, truth, prediction."""
    colours = result.figures["colours"]
    yield html.paragraphs("The first test images, each beside its true classes and the predicted ones:")
    yield legend(colours, others=len(result.figures["classes"]) > len(colours))
    yield html.side_by_side(
        *(
            html.image_row([result.pictures[f"{place}-{name}.png"] for name in ("image", "truth", "predicted")], key)
            for place, key in enumerate(result.keys[: len(result.pictures) // 3])
        )
    )


def _between(scores: Scores) -> str:
    low, high = scores.interval()
    return f"95 % of resampled test sets lie from {percent(low, _UNKNOWN)} to {percent(high, _UNKNOWN)}"
