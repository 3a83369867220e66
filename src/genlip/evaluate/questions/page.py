"""Page: the part of a page about answers to questions.

In: a stored result. Out: a section with the scores, of types of questions too, and images with questions and answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genlip.evaluate.questions.answers.letters import LETTERS
from genlip.evaluate.questions.answers.metrics import METRICS, Metric
from genlip.evaluate.questions.scoring import CONTROLS, NAMED, OTHER_IMAGE, WITHOUT_IMAGE, common_types
from genlip.evaluate.result import Result
from genlip.evaluate.score_table import interval_words, number_words, score_table, set_words
from genlip.evaluate.scores import Scores
from genlip.report import html
from genlip.report.html import Headline, Section
from genlip.report.question_cards import GivenAnswer, QuestionCard, question_gallery

__all__ = ["SHOWN", "section"]

SHOWN = 12  # first questions, answered right or wrong

_MEANING = {
    WITHOUT_IMAGE: "the same questions without their images: what is known without looking",
    OTHER_IMAGE: "the same questions, each with the image of another question",
    CONTROLS[WITHOUT_IMAGE]: "how much the image adds; 0 if it is ignored",
    CONTROLS[OTHER_IMAGE]: "how much the right image adds over a wrong one; 0 if images are ignored",
    NAMED: "share of answers that name the right option anywhere, by a capital letter or its text, as MMBench counts it",
}
_SHORT = {WITHOUT_IMAGE: "no image", OTHER_IMAGE: "other image"}  # on cards


def section(result: Result) -> Section:
    """Its part of the page: headlines, all scores, those of types, the first questions, the first wrong ones after them."""
    metric = METRICS[result.settings["metric"]]
    body = html.paragraphs(*_story(result, metric)) + html.headlines(_headlines(result, metric))
    kinds = [f"{metric.title}: {kind}" for kind in common_types(result.outputs)]
    scores = {name: one for name, one in result.scores.items() if name not in kinds}
    body += score_table(scores, _meaning(metric))
    if kinds:
        body += html.paragraphs("By the type of the question, the most common first.") + _type_table(result)
    first = [name for name, place in _shown(result).items() if place < SHOWN]
    wrong = [name for name in _shown(result) if name not in first]
    body += html.paragraphs(f"The first {len(first)} questions, not chosen.") + question_gallery(_cards(result, first))
    if wrong:
        body += html.paragraphs("The first questions after these that are not answered right.")
        body += question_gallery(_cards(result, wrong))
    return Section(f"Questions about {set_words(result.data)}", body)


def _story(result: Result, metric: Metric) -> list[str]:
    settings, figures = result.settings, result.figures
    suffix = f" Each question ended with “{settings['prompt_suffix']}”" if settings["prompt_suffix"] else ""
    texts = [
        f"The model answered {len(result.keys):,} questions greedily, in at most {settings['max_tokens']} tokens.{suffix}",
        f"The score, {metric.title}, is the {_whole(metric)} An interval contains the score of 95 of 100 sets with as "
        "many such questions.",
    ]
    if "chance" in figures:
        texts.append(f"Options drawn at random would be right in {figures['chance']:.1%} of the questions.")
    if figures["skipped"]:
        reasons = ", ".join(f"{times:,} {reason}" for reason, times in figures["skipped"].items())
        texts.append(f"{sum(figures['skipped'].values()):,} of {figures['asked']:,} could not be asked: {reasons}.")
    return texts


def _whole(metric: Metric) -> str:
    """The meaning as the rest of a sentence."""
    return f"{metric.meaning}." if metric.meaning.startswith("share") else f"mean over questions of {metric.meaning}."


def _headlines(result: Result, metric: Metric) -> list[Headline]:
    scores = result.scores
    found = [_headline(scores[metric.title], metric.title)]
    for control, gain in CONTROLS.items():
        if gain in scores:
            found.append(_headline(scores[f"{metric.title} {control}"], control))
            value, (low, high) = 100 * scores[gain].score, scores[gain].interval()
            found.append(
                Headline(f"{value:+.1f}", gain, f"percentage points, 95 % interval {100 * low:.1f} to {100 * high:.1f}")
            )
    return found


def _headline(scores: Scores, label: str) -> Headline:
    low, high = scores.interval()
    return Headline(f"{scores.score:.1%}", label, f"95 % interval {low:.1%} to {high:.1%}")


def _meaning(metric: Metric) -> dict[str, str]:
    named = {f"{metric.title} {control}": _MEANING[control] for control in CONTROLS}
    return {metric.title: metric.meaning, **named, **_MEANING}


def _type_table(result: Result) -> str:
    """A line for each common type, and one for the rest: its questions, the score with its interval, and the controls."""
    controls = [name for name in CONTROLS if any(name in output["controls"] for output in result.outputs)]
    kinds = common_types(result.outputs)
    groups = {kind: [output for output in result.outputs if output["type"] == kind] for kind in kinds}
    groups["all others"] = [output for output in result.outputs if output["type"] not in kinds]
    head = ["type", "questions", "score", "95 % interval", *controls]
    return html.table(head, [_type_row(kind, some, controls) for kind, some in groups.items() if some])


def _type_row(kind: str, outputs: Sequence[Mapping[str, Any]], controls: Sequence[str]) -> list[str]:
    own = Scores.mean([output["score"] for output in outputs])
    others = [[one["controls"][name]["score"] for one in outputs if name in one["controls"]] for name in controls]
    figures = [number_words(Scores.mean(some).score) if some else "–" for some in others]
    return [kind, f"{len(outputs):,}", number_words(own.score), interval_words(own.interval()), *figures]


def _shown(result: Result) -> Mapping[str, int]:
    return result.figures["shown"]


def _cards(result: Result, names: Sequence[str]) -> list[QuestionCard]:
    return [_card(result, name, result.outputs[_shown(result)[name]]) for name in names]


def _card(result: Result, name: str, output: Mapping[str, Any]) -> QuestionCard:
    given = [GivenAnswer("", output["said"], output["score"])]
    given += [GivenAnswer(_SHORT.get(how, how), one["said"], one["score"]) for how, one in output["controls"].items()]
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, output["options"], strict=False)]
    true = [lettered[output["right"]]] if lettered else list(dict.fromkeys(output["answers"]))
    return QuestionCard(result.pictures[name], output["question"], lettered, true, given)
