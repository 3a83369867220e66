"""Scoring: answers to questions -> what a result stores of each, and the scores of all.

In: questions, answers, and the answers to the same questions without images or with other images. Out: an output for each
question, and `Scores` over questions: of all, of each common type, and how much is gained over asking without the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genlip.data.dialogues.question import Question
from genlip.evaluate.aggregators import ratio, ratio_difference
from genlip.evaluate.questions.answers.metrics import Metric, letter_named
from genlip.evaluate.questions.asking import AnswerEntry, first_paragraph
from genlip.evaluate.scores import Scores

__all__ = ["CONTROLS", "NAMED", "OTHER_IMAGE", "WITHOUT_IMAGE", "chance", "common_types", "output_of", "question_scores"]

WITHOUT_IMAGE, OTHER_IMAGE = "without image", "with another image"
CONTROLS = {WITHOUT_IMAGE: "gain over no image", OTHER_IMAGE: "gain over another image"}  # and the scores of differences
NAMED = "right letter anywhere"
_TYPES, _FEWEST = 12, 5  # most types that have a score, and fewest questions of one

Output = Mapping[str, Any]


def output_of(question: Question, said: str, controls: Mapping[str, AnswerEntry], metric: Metric) -> dict[str, Any]:
    """What is stored of a question; a control that could not be asked is left out."""
    score = lambda text: metric.score(first_paragraph(text), question)  # noqa: E731
    heard = {name: entry["said"] for name, entry in controls.items() if "said" in entry}
    return {
        "key": question.key,
        "question": question.question,
        "answers": list(question.answers),
        "options": list(question.options),
        "right": question.right,
        "type": question.type,
        "said": said,
        "score": score(said),
        "controls": {name: {"said": text, "score": score(text)} for name, text in heard.items()},
    }


def question_scores(
    questions: Sequence[Question], outputs: Sequence[Output], metric: Metric, controls: Sequence[str]
) -> dict[str, Scores]:
    """The metric's score first; then the controls, differences to them, letters found anywhere, and common types."""
    own = [output["score"] for output in outputs]
    scores = {metric.title: Scores.mean(own)}
    for name in controls:
        scores[f"{metric.title} {name}"] = Scores(_counted(outputs, name), ratio)
    for name in controls:
        other = _counted(outputs, name)
        mine = np.stack([np.array(own) * other[:, 1], other[:, 1]], axis=1)  # a question without the control does not count
        scores[CONTROLS[name]] = Scores(np.concatenate([mine, other], axis=1), ratio_difference)
    if metric.with_options:
        pairs = zip(questions, outputs, strict=True)
        scores[NAMED] = Scores.mean([letter_named(first_paragraph(output["said"]), one) for one, output in pairs])
    for kind in common_types(outputs):
        of_kind = np.array([output["type"] == kind for output in outputs], dtype=np.float64)
        scores[f"{metric.title}: {kind}"] = Scores(np.stack([np.array(own) * of_kind, of_kind], axis=1), ratio)
    return scores


def common_types(outputs: Sequence[Output]) -> list[str]:
    """Types with at least 5 questions, the most common first, at most 12; none where all questions are of one type."""
    times = Counter(output["type"] for output in outputs)
    several = [kind for kind, count in times.most_common() if kind and count >= _FEWEST]
    return several[:_TYPES] if len(times) > 1 else []


def chance(questions: Sequence[Question]) -> float:
    """The share of right answers if each question's option is drawn at random."""
    return sum(1 / len(one.options) for one in questions) / len(questions)


def _counted(outputs: Sequence[Output], control: str) -> np.ndarray:
    """Float[questions 2]: score and 1, or zeros where the control could not be asked."""
    found = (output["controls"].get(control) for output in outputs)
    return np.array([(one["score"], 1.0) if one else (0.0, 0.0) for one in found], dtype=np.float64)
