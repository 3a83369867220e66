"""Answer losses: what a multimodal LLM's answers cost in nats, with the right images, with others, and without.

In: samples of dialogues. Out: for each sample the loss of its answers and their number of tokens.

Axes: i samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from genlip.data.dialogues import IMAGE_MARK, Dialogue, Message
from genlip.data.packing import packs_by_shape
from genlip.evaluate.questions.asking import image_digest
from genlip.evaluate.questions.controls import deal_other_images
from genlip.mllm.batch import MLLMSample
from genlip.mllm.model import MLLM
from genlip.mllm.reader import DialogueReader

__all__ = ["answer_losses", "exchange_images", "with_other_images", "without_images"]


@torch.no_grad()
def answer_losses(
    model: MLLM,
    samples: Sequence[MLLMSample],
    reader: DialogueReader,
    max_tokens: int = 4096,
    advance: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Float64[i 2]: for each sample the loss of its supervised tokens in nats, summed, and their number.

    reader      puts samples into packs
    max_tokens  rows of a pack
    advance     is called with the number of newly finished samples
    """
    found, was_training = np.zeros((len(samples), 2)), model.training
    model.eval()
    for chosen in packs_by_shape(samples, max_tokens):
        pack = reader.pack([samples[number] for number in chosen]).to(model.head.device)
        losses = model.token_losses(pack).double().cpu().numpy()
        counts = [int(samples[number].supervised[1:].sum()) for number in chosen]
        ends = np.cumsum(counts)
        for number, end, count in zip(chosen, ends, counts, strict=True):
            found[number] = losses[end - count : end].sum(), count
        advance(len(chosen))
    model.train(was_training)
    return found


def with_other_images(samples: Sequence[MLLMSample], seed: int = 0) -> tuple[list[int], list[MLLMSample]]:
    """The same dialogues, each with other images that fill as many places, from another dialogue; and their numbers.

    Samples without images, or without other images of as many visual tokens, are left out.
    """
    alike: dict[int, dict[int, str]] = defaultdict(dict)
    for number, sample in enumerate(samples):
        if sample.images:
            alike[len(sample.visual)][number] = image_digest([image.patches.tobytes() for image in sample.images])
    dealt: dict[int, MLLMSample] = {}
    for digests in alike.values():
        if len({*digests.values()}) > 1:
            for here, other in deal_other_images(digests, seed).items():
                dealt[here] = replace(samples[here], images=samples[other].images, visual=samples[other].visual)
    return sorted(dealt), [dealt[number] for number in sorted(dealt)]


def exchange_images(dialogues: Sequence[Dialogue], seed: int = 0) -> list[Dialogue]:
    """The same dialogues in the same order, each with the images of another one that has as many, and not the same.

    Raises ValueError where a dialogue has no such partner.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(dialogues):
        if one.images:
            alike[len(one.images)].append(number)
    found = list(dialogues)
    for images, numbers in alike.items():
        digests = {number: image_digest(dialogues[number].images) for number in numbers}
        if len({*digests.values()}) < 2:
            raise ValueError(f"{dialogues[numbers[0]].key}: no other dialogue has {images} images to exchange with")
        for here, other in deal_other_images(digests, seed).items():
            found[here] = replace(dialogues[here], images=dialogues[other].images)
    return found


def without_images(dialogue: Dialogue) -> Dialogue:
    """The same messages without images and their marks."""
    messages = tuple(Message(one.role, one.text.replace(IMAGE_MARK, "").strip()) for one in dialogue.messages)
    return replace(dialogue, images=(), messages=messages)
