"""Questions: how many questions about images a multimodal LLM answers right.

In: a model and a set of questions with true answers. Out: a `Result` with the score of a benchmark's metric, of all
questions and of each type, and, if asked for, the scores of the same questions without images and with other images: what
the language model knows without looking.

Answers can be stored in a file as they are given, so that a stopped measurement goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from genlip.data.dialogues.question import Question, QuestionSource
from genlip.data.dialogues.questions import open_questions
from genlip.data.examples import Unusable
from genlip.evaluate.image_batches import spread
from genlip.evaluate.partial_results import PartialResults
from genlip.evaluate.questions.answers.metrics import METRICS, Metric
from genlip.evaluate.questions.asking import NONE, OTHER, OWN, AnswerEntry, Answerer, Asking, ask
from genlip.evaluate.questions.controls import deal_other_images
from genlip.evaluate.questions.page import SHOWN
from genlip.evaluate.questions.scoring import OTHER_IMAGE, WITHOUT_IMAGE, chance, output_of, question_scores
from genlip.evaluate.requirements import opened
from genlip.evaluate.result import Result
from genlip.machine import machine, versions
from genlip.report.html import thumbnail
from genlip.suggestions import did_you_mean

__all__ = ["QuestionsConfig", "measure_questions"]

log = logging.getLogger(__name__)

_WRONG_SHOWN = 8
_SIDE = 480  # pixels of a stored picture; the page shows about half


@dataclass(frozen=True, kw_only=True)
class QuestionsConfig:
    """How questions are asked and answers are scored.

    Attributes:
        metric: one of `METRICS`: vqa, textvqa, anls, relaxed, exact, letters or scienceqa.
        prompt_suffix: text after each question; None takes the metric's, "" none.
        max_tokens: most tokens of an answer; 0 takes the metric's.
        batch_size: questions asked together.
        without_images: also ask all questions without images.
        other_images: also ask all questions with the images of other questions.
    """

    metric: str = "exact"
    prompt_suffix: str | None = None
    max_tokens: int = 0
    batch_size: int = 8
    without_images: bool = False
    other_images: bool = False

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(
                f"metric {self.metric!r}: need one of {', '.join(METRICS)}{did_you_mean(self.metric, list(METRICS))}"
            )
        if self.max_tokens < 0 or self.batch_size < 1:
            raise ValueError(f"max_tokens {self.max_tokens} must be 0 or more, and batch_size {self.batch_size} at least 1")

    @property
    def passes(self) -> int:
        """How often each question is asked."""
        return 1 + self.without_images + self.other_images

    def asking(self) -> Asking:
        """The same with the metric's own suffix and length where none is given."""
        metric = METRICS[self.metric]
        suffix = metric.suffix if self.prompt_suffix is None else self.prompt_suffix
        return Asking(metric, suffix, self.max_tokens or metric.max_tokens, self.batch_size)


def measure_questions(
    assistant: Answerer,
    data: QuestionSource | str | Path,
    config: QuestionsConfig = QuestionsConfig(),
    *,
    model: str = "",
    limit: int = 500,
    partial: Path | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Result:
    """Ask questions of a set, spread evenly over it, and score the answers.

    data     a text or path is opened by `genlip.open_questions`
    model    the model's name, as results record it
    limit    how many questions; all where the set has no more
    partial  a file for the answers given so far; the same measurement continues from it, and removes it at its end
    advance  is called with the number of newly finished questions, skipped ones included; `config.passes` times for each

    Raises ValueError for an empty set, one of whose questions none can be used, and other images where all are the same.
    """
    data, began = opened(data, open_questions), time.monotonic()
    if not len(data) or limit < 1:
        raise ValueError(f"{data.name}: {len(data)} questions, {limit} to ask: both must be at least 1")
    chosen, asking, skipped = spread(len(data), limit), config.asking(), Counter[str]()
    questions = _usable(data, chosen, asking.metric, skipped)
    settings = _settings(assistant, config, asking, questions)
    purpose = {"model": model, "data": data.name, "settings": settings}
    purpose["weights"] = assistant.fingerprint() if partial else ""
    found = PartialResults(partial, purpose, AnswerEntry)
    advance(config.passes * (len(chosen) - len(questions)))
    said = ask(assistant, data, [(i, i) for i in questions], OWN, asking, found, advance)
    skipped.update(entry["skipped"] for entry in said.values() if "skipped" in entry)
    if not (answered := {i: questions[i] for i, entry in said.items() if "said" in entry}):
        raise ValueError(_nothing(data, len(chosen), skipped))
    advance((config.passes - 1) * (len(questions) - len(answered)))
    controls = _controls(assistant, data, {i: said[i]["image"] for i in answered}, config, found, advance)
    outputs = [
        output_of(one, said[i]["said"], {name: entries[i] for name, entries in controls.items()}, asking.metric)
        for i, one in answered.items()
    ]
    asked, shown = list(answered.values()), _shown([output["score"] for output in outputs])
    figures = {"asked": len(chosen), "skipped": dict(skipped), "shown": shown}
    result = Result(
        measurement="questions",
        model=model,
        data=data.name,
        settings=settings,
        scores=question_scores(asked, outputs, asking.metric, list(controls)),
        keys=[question.key for question in asked],
        figures=figures | ({"chance": chance(asked)} if asking.metric.with_options else {}),
        outputs=outputs,
        pictures=_pictures(data, list(answered), shown),
        about=_about(assistant, time.monotonic() - began),
    )
    found.finish()
    return result


def _usable(data: QuestionSource, chosen: Sequence[int], metric: Metric, skipped: Counter[str]) -> dict[int, Question]:
    """The questions that the metric can score, without their images; reasons of the others are counted and named."""
    found = {}
    for index in chosen:
        try:
            found[index] = _scored_by(metric, data.text(index))
        except Unusable as error:
            log.warning("skipped %s", error)
            skipped[error.reason] += 1
    if not found:
        raise ValueError(_nothing(data, len(chosen), skipped))
    return found


def _scored_by(metric: Metric, question: Question) -> Question:
    """The question. Raises `Unusable` if it lacks what the metric needs."""
    if metric.with_options and not question.options:
        raise Unusable("no options", f"{question.key}: no options to choose from; an open question needs another metric")
    if len(question.answers) < metric.fewest_answers:
        raise Unusable(
            "few answers",
            f"{question.key}: {len(question.answers)} answers; {metric.title} compares those of ten people, at least "
            f"{metric.fewest_answers}; use the metric exact",
        )
    return question


def _settings(
    assistant: Answerer, config: QuestionsConfig, asking: Asking, questions: Mapping[int, Question]
) -> dict[str, Any]:
    asked = [(one.question, one.answers, one.options, one.right, one.type) for one in questions.values()]
    return {
        **assistant.image_settings(),
        "metric": config.metric,
        "prompt_suffix": asking.suffix,
        "max_tokens": asking.max_tokens,
        "questions": len(questions),
        "asked": hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8],
    }


def _controls(
    assistant: Answerer,
    data: QuestionSource,
    images: Mapping[int, str],
    config: QuestionsConfig,
    found: PartialResults,
    advance: Callable[[int], None],
) -> dict[str, dict[int, AnswerEntry]]:
    """The answers to the same questions with other images than their own; `images` are digests of these."""
    asking, controls = config.asking(), dict[str, dict[int, AnswerEntry]]()
    if config.without_images:
        controls[WITHOUT_IMAGE] = ask(assistant, data, [(i, None) for i in images], NONE, asking, found, advance)
    if config.other_images:
        dealt = sorted(deal_other_images(images).items(), key=lambda pair: pair[1])  # files are read in their order
        controls[OTHER_IMAGE] = ask(assistant, data, dealt, OTHER, asking, found, advance)
    return controls


def _nothing(data: QuestionSource, asked: int, skipped: Mapping[str, int]) -> str:
    """Why there is nothing to score."""
    counted = ", ".join(f"{times} {reason}" for reason, times in skipped.items())
    return f"{data.name}: none of {asked} questions can be used ({counted}); the log names each"


def _shown(scores: Sequence[float]) -> dict[str, int]:
    """Places of the first questions, and of the first others that were answered wrong, by the file of the picture."""
    wrong = [place for place, score in enumerate(scores) if place >= SHOWN and score < 1]
    return {f"image-{place}.png": place for place in [*range(min(SHOWN, len(scores))), *wrong[:_WRONG_SHOWN]]}


def _pictures(data: QuestionSource, numbers: Sequence[int], shown: Mapping[str, int]) -> dict[str, Image.Image]:
    """The first image of each question that is shown."""
    return {name: thumbnail(data[numbers[place]].images[0], _SIDE) for name, place in shown.items()}


def _about(assistant: Answerer, seconds: float) -> dict[str, Any]:
    return {
        "machine": machine(assistant.device),
        "precision": str(assistant.dtype).removeprefix("torch."),
        "versions": versions(),
        "seconds": round(seconds, 1),
    }
