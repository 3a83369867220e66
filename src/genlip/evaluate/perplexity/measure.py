"""Perplexity of a trained multimodal LLM: exp of the mean loss of its answers, in nats per token.

In: a model, its reader, dialogues. Out: losses of the answers with the right images, with another dialogue's images, and
without images. A model that does not read its images has the same perplexity with all three. Several trained models of one
encoder become one `Result`: PPL1 is that of a model whose projector alone was trained, PPL2 that of one whose language model
was trained too (arXiv 2605.00809, figure 1).

Axes: i dialogues.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genlip.data.dialogues import Dialogue
from genlip.data.examples import Unusable
from genlip.data.samples import spread_indices
from genlip.evaluate.aggregators import perplexity
from genlip.evaluate.perplexity.answer_losses import answer_losses, exchange_images, without_images
from genlip.evaluate.result import Result
from genlip.evaluate.scores import Scores
from genlip.mllm.batch import MLLMSample
from genlip.mllm.model import MLLM
from genlip.mllm.reader import DialogueReader

__all__ = ["CONDITIONS", "condition_losses", "perplexity_result", "usable_dialogues"]

log = logging.getLogger(__name__)

CONDITIONS = {"own": "", "other": ", another image", "none": ", no image"}
"""Which images a model reads, and what is added to the name of the score."""


def usable_dialogues(source: Any, reader: DialogueReader, limit: int) -> list[Dialogue]:
    """Up to `limit` dialogues with images that the reader can use, spread evenly over a source; the log names the others."""
    found: list[Dialogue] = []
    for place in spread_indices(len(source), limit):
        if len(found) == limit:
            break
        try:
            dialogue = source[place]
            if dialogue.images:
                reader.sample(dialogue)
                found.append(dialogue)
        except Unusable as error:
            log.warning("skipped %s", error)
    if len(found) < 2:
        raise ValueError(f"{source.name}: {len(found)} usable dialogues with images: need at least 2")
    return found


def condition_losses(
    model: MLLM,
    reader: DialogueReader,
    dialogues: Sequence[Dialogue],
    max_tokens: int = 4096,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, np.ndarray]:
    """By condition Float64[i 2], the loss of each dialogue's answers in nats, summed, and their tokens.

    The tokens are the same in all conditions. No dialogue is shortened, so that other images may need more room.

    max_tokens  rows of a pack; a longer dialogue has a pack of its own
    advance     is called with the number of newly finished dialogues, three times for each
    """
    whole = dataclasses.replace(reader, max_tokens=None)
    samples = {
        "own": [whole.sample(one) for one in dialogues],
        "other": [whole.sample(one) for one in exchange_images(dialogues)],
    }
    end = reader.chat.end_ids[-1]
    nothing = [whole.sample(without_images(one)) for one in dialogues]
    samples["none"] = [_after(one, end, own) for one, own in zip(nothing, samples["own"], strict=True)]
    return {name: answer_losses(model, some, whole, max_tokens, advance) for name, some in samples.items()}


def _after(sample: MLLMSample, end: int, own: MLLMSample) -> MLLMSample:
    """The sample after an end of text, where else nothing would precede its first token, which has a loss in `own`."""
    if sample.supervised.sum() == own.supervised.sum():
        return sample
    supervised = np.concatenate([[False, True], sample.supervised[1:]])
    token_ids, is_visual = np.insert(sample.token_ids, 0, end), np.insert(sample.is_visual, 0, False)
    return dataclasses.replace(sample, token_ids=token_ids, supervised=supervised, is_visual=is_visual)


def perplexity_result(
    encoder: str,
    data: str,
    keys: Sequence[str],
    losses: Mapping[str, Mapping[str, np.ndarray]],
    *,
    settings: Mapping[str, Any],
    figures: Mapping[str, Any],
    about: Mapping[str, Any],
) -> Result:
    """The result of one encoder.

    losses  by stage ("PPL1", "PPL2") and condition, as `condition_losses` returns them
    """
    scores = {
        f"{stage}{CONDITIONS[condition]}": Scores(evidence, perplexity)
        for stage, by_condition in losses.items()
        for condition, evidence in by_condition.items()
    }
    return Result(
        measurement="perplexity", model=encoder, data=data, settings=settings, scores=scores, keys=list(keys),
        figures=figures, about=about,
    )  # fmt: skip
