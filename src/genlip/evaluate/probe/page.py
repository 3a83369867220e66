"""The page's part on a probe: accuracy, also by class, the most frequent confusions, and the sweep of learning rates.

In: a stored result. Out: its section, made of nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores
from genlip.report import charts, html
from genlip.report.charts import Line
from genlip.report.html import Headline, Section, Thumbnail

__all__ = ["section"]

_BARS, _EACH_END = 24, 10  # classes in a chart; where there are more, so many of the lowest and of the highest
_MIXED_UP = 10  # lines of the table of mistakes

_HEADS = {
    "attentive": "attention pooling over the patches with one learned query, and a linear classifier of the result",
    "mean": "a linear classifier of the mean over patches",
}
_MEASURED = (
    "The model is frozen: only a small head was trained, on the features of the last layer of images from {train}: {head}. "
    "It then classified {images} images of {test}. The score therefore measures the frozen features."
)
_READ = (
    "Top-1 is the share of test images whose class the head put first; guessing among {classes} classes is right in "
    "{chance:.1%} if all classes are equally frequent. Intervals show how far other test images might move a score (95 %)."
)
_RATES = (
    "Heads of several learning rates were trained side by side on {learned} images. {held_out} more images of the training "
    "set chose among them, by accuracy; the test images were not used for it."
)
_ONE_RATE = (
    "One learning rate was given, so no image had to be held out to choose it: the head learned from {learned} images."
)


def section(result: Result) -> Section:
    """The page's part on a stored probe."""
    settings, figures = result.settings, result.figures
    classes = len(figures["classes"])
    measured = _MEASURED.format(
        train=settings["train"], test=result.data, head=_HEADS[settings["pooling"]], images=f"{len(result.keys):,}"
    )
    rates = _RATES if figures["held_out"] else _ONE_RATE
    parts = [
        html.paragraphs(measured, _READ.format(classes=classes, chance=1 / classes)),
        html.headlines(_headlines(result)),
        html.side_by_side(_class_bars(result), _loss_chart(figures)),
        _mixed_up(result),
        _mistakes(result),
        html.paragraphs(rates.format(learned=f"{figures['learned']:,}", held_out=f"{figures['held_out']:,}")),
        _sweep_table(figures["sweep"]),
        html.warning_list(_advice(figures)),
    ]
    return Section(f"Probe of frozen features on {result.data}", "".join(parts))


def _headlines(result: Result) -> list[Headline]:
    found = []
    for name, scores in result.scores.items():
        low, high = scores.interval()
        what = "put first" if name == "top-1" else "among the five likeliest"
        found.append(Headline(f"{scores.score:.1%}", name, f"{what}; 95 % of resampled sets: {low:.1%} to {high:.1%}"))
    return [
        *found,
        Headline(f"{len(result.figures['classes']):,}", "classes"),
        Headline(f"{len(result.keys):,}", "test images"),
    ]


def _class_bars(result: Result) -> str:
    """Accuracy of each class with its interval; of many classes both ends."""
    hits: dict[int, list[float]] = {}
    for one in result.outputs:
        hits.setdefault(one["true"], []).append(float(one["true"] == one["chosen"]))
    ranked = sorted(((c, Scores.mean(of_class)) for c, of_class in hits.items()), key=lambda pair: (-pair[1].score, pair[0]))
    note = "share of right answers, best first"
    if len(ranked) > _BARS:
        note = f"share of right answers: the {_EACH_END} best and the {_EACH_END} worst of {len(ranked)} classes"
        ranked = ranked[:_EACH_END] + ranked[-_EACH_END:]
    names = [result.figures["classes"][c] for c, _ in ranked]
    return charts.bars("Accuracy by class", names, [scores for _, scores in ranked], note)


def _loss_chart(figures: Mapping[str, Any]) -> str:
    (chosen,) = (rate for rate in figures["sweep"] if rate["chosen"])
    pairs = [(epoch, loss) for epoch, loss in enumerate(chosen["losses"], start=1) if loss is not None]
    line = Line("loss", [epoch for epoch, _ in pairs], [loss for _, loss in pairs], marked=True)
    return charts.chart("Training loss of the chosen rate, in nats", [line], below="epoch")


def _mixed_up(result: Result) -> str:
    """The most frequent confusions of two classes."""
    pairs = Counter((one["true"], one["chosen"]) for one in result.outputs if one["true"] != one["chosen"])
    if not pairs:
        return html.paragraphs("Every test image was classified correctly.")
    names, tests = result.figures["classes"], result.figures["per_class"]
    rows = [
        [f"{times:,} of {tests[true]['test']:,}", names[true], names[chosen]]
        for (true, chosen), times in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:_MIXED_UP]
    ]
    return html.paragraphs("The most frequent confusions:") + html.table(["images", "of class", "taken for"], rows)


def _mistakes(result: Result) -> str:
    """Some of the images that were classified wrongly."""
    names, shown = result.figures["classes"], result.figures["shown"]
    if not shown:
        return ""
    sheet = html.contact_sheet(
        Thumbnail(
            result.pictures[file],
            f"{names[result.outputs[place]['true']]}, taken for {names[result.outputs[place]['chosen']]}",
            result.keys[place],
        )
        for file, place in shown.items()
    )
    return html.paragraphs(f"{len(shown)} of the images that were classified wrongly:") + sheet


def _sweep_table(rates: Sequence[Mapping[str, Any]]) -> str:
    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    head = ["learning rate", "training loss, last epoch", "held-out loss", "held-out accuracy", ""]
    return html.table(
        head,
        [
            [
                f"{rate['learning_rate']:g}",
                number(rate["losses"][-1], ".4f"),
                number(rate["loss"], ".4f"),
                number(rate["accuracy"], ".1%"),
                "chosen" if rate["chosen"] else "",
            ]
            for rate in rates
        ],
    )


def _advice(figures: Mapping[str, Any]) -> list[str]:
    """What to change, where the figures ask for it."""
    texts = []
    rates = sorted(figures["sweep"], key=lambda rate: rate["learning_rate"])
    for place, word in ((0, "smallest"), (-1, "largest")):
        if len(rates) > 1 and rates[place]["chosen"]:
            texts.append(
                f"The {word} learning rate won: one beyond it may be better still; widen the sweep (learning_rates)."
            )
    untaught = sum(not one["training"] for one in figures["per_class"])
    if untaught:
        texts.append(f"{untaught} of {len(figures['classes'])} classes have no training image, so no head can learn them.")
    return texts
