"""Page: the part of a page about attention, and its comparison with and without the gate.

In: stored results. Out: sections of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from genlip.evaluate.attention.attention_mass import MASSES
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Difference, Scores, difference
from genlip.report import charts, formatting, html
from genlip.report.charts import Line
from genlip.report.html import Headline, Section

__all__ = ["compare_section", "section"]

_SINKS = MASSES[:2]  # what goes to the first patch


_DRAWN = ("patches to first token", "text to first token", "text to patches")  # the paper's figures


_HEADS_SHOWN = 5


def section(result: Result) -> Section:
    """The shares of attention: overall, by layer, and the heads that look at the first patch most."""
    figures = result.figures
    body = [
        html.paragraphs(_measured(result), _READING),
        html.headlines([_headline(result, name) for name in ("text to first token", *_DRAWN[::2])]),
        html.paragraphs("Each layer, first to last, against attention that is spread evenly over all that may be seen:"),
        html.side_by_side(*(_against_even(figures, name) for name in _DRAWN), *_traces(figures)),
        html.table(("share of attention", "mean", "95% interval", "spread evenly", "ratio"), _rows(result)),
        html.paragraphs("The heads that give the first patch most, as a mean over images:"),
        html.table(("from", "layer", "head", "share"), [row for name in _SINKS for row in _top_heads(figures, name)]),
    ]
    return Section("Attention allocation", "".join(body))


_READING = (
    "A sink shows as a first patch that gets many times its even share, whatever it depicts, in most layers; its state is "
    "then often many times as long as that of other patches. The published figures, of models with hundreds of patches, "
    "are 17.1% of text's attention on the first patch without the gate and 0.1% with it."
)


def _measured(result: Result) -> str:
    """What was measured, in words."""
    gate = "with" if result.figures["gate"] else "without"
    return (
        f"A model {gate} the gate read {len(result.keys):,} images and their true captions. At each layer and head, a patch "
        "divides its attention among the patches of its image, and a caption token among these and the earlier text. The "
        "first token is the first patch, at the top left. Text means the tokens that predict the next one of the caption. "
        "Shares are means over layers, heads and rows; every image counts alike."
    )


def _headline(result: Result, name: str) -> Headline:
    score, even = result.scores[name].score, result.figures["even"][name]
    return Headline(f"{score:.2%}", name, f"{formatting.short_number(score / even)} times the even share of {even:.2%}")


def _rows(result: Result) -> Iterator[list[str]]:
    for name, scores in result.scores.items():
        low, high = scores.interval()
        even = result.figures["even"][name]
        ratio = formatting.short_number(scores.score / even) if even else "–"  # an image of one patch has no others
        yield [name, f"{scores.score:.2%}", f"{low:.2%} to {high:.2%}", f"{even:.2%}", ratio]


def _against_even(figures: Any, name: str) -> str:
    """The mass of each layer beside attention that is spread evenly."""
    values = figures["layers"][name]["value"]
    lines = [
        _line("measured", values, scale=100),
        _line("spread evenly", [figures["even"][name]] * len(values), "orange", 100),
    ]
    return charts.chart(f"{_capital(name)}, in percent", lines, below="layer")


def _traces(figures: Any) -> Iterator[str]:
    """The first patch's state, and the gates if there are any."""
    yield charts.chart(
        "Length of the first patch's state, in median patches",
        [_line("first patch", figures["first_patch_norm"])],
        below="layer",
    )
    if gate := figures["gate"]:
        lines = [_line("patches", gate["patches"]), _line("text", gate["text"], "orange")]
        yield charts.chart("Mean gate: 0 is shut, 1 is open", lines, below="layer")


def _top_heads(figures: Any, name: str) -> list[list[str]]:
    """Sender, layer and head, both counted from 1, and share."""
    heads = np.asarray(figures["heads"][name])
    top = np.argsort(-heads, axis=None, kind="stable")[:_HEADS_SHOWN]
    places = zip(*np.unravel_index(top, heads.shape), strict=True)
    return [[name.split()[0], str(layer + 1), str(head + 1), f"{heads[layer, head]:.2%}"] for layer, head in places]


def compare_section(with_gate: Result, without_gate: Result) -> Section:
    """What the gate changes: both models' curves, and paired differences over the same images.

    Raises ValueError unless the first result is of a gated model, the second of one without, and both of the same images.
    """
    _check_pair(with_gate, without_gate)
    both = [("with the gate", with_gate, "blue"), ("without", without_gate, "orange")]

    def curves(title: str, values: Callable[[Any], Sequence[float]], scale: float = 1) -> str:
        lines = [_line(name, values(result.figures), colour, scale) for name, result, colour in both]
        return charts.chart(title, lines, below="layer")

    drawn = [curves(f"{_capital(name)}, in percent", lambda f, n=name: f["layers"][n]["value"], 100) for name in MASSES]  # type: ignore[misc]
    drawn.append(curves("Length of the first patch's state, in median patches", lambda f: f["first_patch_norm"]))
    head = ("share of attention", "with the gate", "without", "difference", "95% interval", "beyond noise")
    rows = [_pair(name, with_gate.scores[name], without_gate.scores[name]) for name in MASSES]
    story = (
        f"Two models read the same {len(with_gate.keys):,} images and captions: {with_gate.model or 'one'} with the gate, "
        f"{without_gate.model or 'the other'} without. Differences are points of a percentage, with the gate minus without, "
        "and their intervals resample both models' images alike.",
        "The published finding: without the gate, text spends 17.1% of its attention on the first patch, with it 0.1%; what "
        "that frees goes to the patches, whose share grows from 8.9% to 13.4%.",
    )
    body = html.paragraphs(*story) + html.table(head, rows) + html.side_by_side(*drawn)
    return Section("Attention allocation with the gate and without", body)


def _check_pair(with_gate: Result, without_gate: Result) -> None:
    for result in (with_gate, without_gate):
        if result.measurement != "attention":
            raise ValueError(f"a result of {result.measurement}: need two of attention")
    gated = [result.figures["gate"] is not None for result in (with_gate, without_gate)]
    if gated != [True, False]:
        found = " and ".join("with gates" if one else "without" for one in gated)
        raise ValueError(f"results of models {found}: give that of a gated model first, that of one without gates second")
    if with_gate.identity != without_gate.identity or list(with_gate.keys) != list(without_gate.keys):
        raise ValueError(
            f"results over {len(with_gate.keys)} images of {with_gate.data} and {len(without_gate.keys)} of "
            f"{without_gate.data} differ in images or settings: measure both models on the same ones"
        )


def _pair(name: str, with_gate: Scores, without_gate: Scores) -> list[str]:
    found: Difference = difference(without_gate, with_gate)
    interval = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
    verdict = "yes" if found.beyond_noise else "no"
    return [name, f"{with_gate.score:.2%}", f"{without_gate.score:.2%}", f"{100 * found.value:+.2f}", interval, verdict]


def _line(name: str, values: Sequence[float], colour: str = "blue", scale: float = 1) -> Line:
    """A curve over the layers, which are counted from 1."""
    return Line(name, range(1, len(values) + 1), [scale * value for value in values], colour, marked=True)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
