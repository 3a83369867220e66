"""The page's part on a zero-shot classification: figures, bars by class, confusions, pictures.

In: a stored result. Out: its section, made of nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores
from genlip.report import charts, html
from genlip.report.html import Headline, Section, Thumbnail

__all__ = ["section"]

_BARS, _TABLE, _LISTED = 30, 12, 10  # most classes of a chart and of a matrix; places of a list where there are more

_MEASURED = (
    "The model was asked to choose among {classes} classes for each of {images} images, without any training for it. Each "
    "class was written as {captions}, and the class whose caption the model finds likeliest after the picture is its "
    "choice: {score}, the end of the caption included{grey}."
)
_READ = (
    "By guessing, {chance:.1%} would be right. A model that speaks in another style than the template, or that never met "
    "the names, does worse here than it sees; a probe of its features tells the two apart."
)


def section(result: Result) -> Section:
    """The page's part on stored choices."""
    parts = [
        html.paragraphs(*_story(result)),
        html.headlines(_headlines(result)),
        html.side_by_side(_by_class(result), _confusions(result)),
        *(_sheet(result, kind) for kind in ("wrong", "right")),
    ]
    return Section(f"Zero-shot classification of {result.data}", "".join(parts))


def _story(result: Result) -> tuple[str, str]:
    settings, classes = result.settings, len(result.figures["classes"])
    wordings = [f"“{template}”" for template in settings["templates"]]
    captions = wordings[0] if len(wordings) == 1 else f"{len(wordings)} captions ({', '.join(wordings)}), which are averaged"
    score = "the mean log-probability of a token" if settings["normalise"] == "mean" else "the log-probability of all tokens"
    grey = ", minus what the same caption scores with a grey picture" if settings["without_picture"] else ""
    measured = _MEASURED.format(
        classes=f"{classes:,}", images=f"{len(result.keys):,}", captions=captions, score=score, grey=grey
    )
    return measured, _READ.format(chance=1 / classes)


def _headlines(result: Result) -> Iterator[Headline]:
    for name, scores in result.scores.items():
        low, high = scores.interval()
        among = "" if name == "top-1" else f"among the {name.removeprefix('top-')} "
        note = f"the true class is {among}likeliest; 95 % interval {low:.1%} to {high:.1%}"
        yield Headline(f"{scores.score:.1%}", name, note)


def _by_class(result: Result) -> str:
    """Bars with intervals, or of many classes the best and the worst."""
    present = [one for one in result.figures["classes"] if one["images"]]
    if len(present) <= _BARS:
        scores = [Scores.mean([1.0] * one["right"] + [0.0] * (one["images"] - one["right"])) for one in present]
        return charts.bars("Right, of the images of each class", [one["class"] for one in present], scores)
    ranked = sorted(present, key=lambda one: -one["accuracy"])
    few = ranked if len(ranked) <= 2 * _LISTED else [*ranked[:_LISTED], *ranked[-_LISTED:]]
    rows = [[one["class"], f"{one['accuracy']:.1%}", f"{one['images']:,}"] for one in few]
    return html.table([f"best and worst of {len(ranked):,} classes", "right", "images"], rows)


def _confusions(result: Result) -> str:
    """How often each class was taken for each; of many classes the most frequent mistakes."""
    classes = result.figures["classes"]
    names = [one["class"] for one in classes]
    if len(names) <= _TABLE:
        counts = zip(names, result.figures["confusion"], strict=True)
        return html.table(["true ↓ said →", *names], [[name, *map(str, row)] for name, row in counts])
    pairs = Counter((one["true"], one["best"][0][0]) for one in result.outputs if one["true"] != one["best"][0][0])
    rows = [
        [names[true], names[said], f"{times:,} of {classes[true]['images']:,}"]
        for (true, said), times in pairs.most_common(_LISTED)
    ]
    return html.table(["true class", "most often taken for", "images"], rows) if rows else ""


def _sheet(result: Result, kind: str) -> str:
    """The stored pictures that were classified wrongly, or correctly."""
    places = {name: place for name, place in result.figures["shown"].items() if name.startswith(kind)}
    if not places:
        return ""
    names = [one["class"] for one in result.figures["classes"]]
    thumbnails = []
    for name, place in places.items():
        one = result.outputs[place]
        (said, score), (other, second) = one["best"][:2]
        text = f"said {names[said]}, true is {names[one['true']]}" if kind == "wrong" else names[said]
        note = f"{score - second:.3f} nats before {names[other]}; {result.keys[place]}"
        thumbnails.append(Thumbnail(result.pictures[name], text, note))
    return html.paragraphs(f"The first images that were told {kind}:") + html.contact_sheet(thumbnails)
