"""LmmsModel: a multimodal LLM of genlip as a model of lmms-eval.

In: requests of lmms-eval. Out: answers, in the order of the requests. Written for lmms-eval 0.7.3: a request of a chat model
has six arguments, `(context, doc_to_messages, generation_kwargs, doc_id, task, split)`, and the messages of a document come
from its task. Only lmms-eval imports this module.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lmms_eval.api.model import lmms
from tqdm import tqdm

from genlip.data.dialogues.dialogue import IMAGE_MARK, Dialogue, Message
from genlip.data.examples import ImageLike, Unusable
from genlip.mllm.assistant import Assistant

__all__ = ["LmmsModel", "cut", "decoding", "dialogue"]

log = logging.getLogger(__name__)

_MOST_TOKENS = 1024  # of tasks that name no number, as lmms-eval's own models have it
_READ = {"max_new_tokens", "temperature", "do_sample", "top_p", "num_beams", "until"}
_ASIDE = {"image_aspect_ratio"}  # how LLaVA prepares images; ours are prepared as in training
_TEXT_FOR_MARK = "[image]"  # where a question holds the characters of the mark, and no image


class LmmsModel(lmms):
    """Answers questions of lmms-eval with an `Assistant`.

    pretrained        folder of the model
    device            as `torch.device` takes it (default: cuda if there is one; under torchrun the process's own)
    batch_size        questions at a time
    dtype             "auto" (bfloat16 on a GPU, else float32), "float32" or "bfloat16"
    seed              of tasks that sample
    max_batch_size    not used: lmms-eval passes it with batch sizes that it searches
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "",
        device: str | None = None,
        batch_size: int | str = 8,
        dtype: str = "auto",
        seed: int = 0,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if not pretrained:
            raise ValueError("model_args names no model: need pretrained=FOLDER")
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"batch_size is {batch_size!r}: need a whole number of at least 1")
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype is {dtype!r}: need auto, float32 or bfloat16")
        self.device = _device(device)
        self.batch_size, self.seed = int(batch_size), int(seed)
        precision = dtype if dtype != "auto" else "bfloat16" if self.device.type == "cuda" else "float32"
        self.assistant: Any = Assistant.load(pretrained, device=self.device, dtype=getattr(torch, precision))

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """An answer to each request, in order; those with equal settings are answered together.

        Raises ValueError for a request with a video, and for settings that the `Assistant` does not have.
        """
        groups: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            if not callable(request.args[1]):  # lmms-eval does so with a task that is given by its file
                raise ValueError("a request without messages: call lmms-eval with the name of a task and --include_path")
            groups[json.dumps(request.args[2], sort_keys=True, default=str)].append(index)
        answers = [""] * len(requests)
        with self._progress(len(requests)) as bar:
            for indices in groups.values():
                for start in range(0, len(indices), self.batch_size):
                    chunk = indices[start : start + self.batch_size]
                    for index, answer in zip(chunk, self._answers([requests[i] for i in chunk], chunk[0]), strict=True):
                        answers[index] = answer
                    bar.update(len(chunk))
        return answers

    def _progress(self, total: int) -> Any:
        """The bar that lmms-eval's own models show, with few updates where it is written to a file."""
        return tqdm(total=total, desc="Answers", disable=self.rank != 0, mininterval=0.5 if sys.stderr.isatty() else 10)

    def _answers(self, requests: Sequence[Any], first: int) -> list[str]:
        """Answers to requests with the same settings; `first` varies the seed, as a request may be repeated."""
        settings = requests[0].args[2]
        dialogues = []
        for request in requests:
            _, doc_to_messages, _, doc_id, task, split = request.args
            document = self.task_dict[task][split][doc_id]
            dialogues.append(dialogue(doc_to_messages(document), f"{task}:{doc_id}"))
        return self._spoken(dialogues, settings, first)

    def _spoken(self, dialogues: list[Dialogue], settings: Mapping[str, Any], first: int) -> list[str]:
        given = decoding(settings) | {"seed": self.seed + first}
        try:
            answers = self.assistant.answer(dialogues, batch_size=self.batch_size, **given)
        except Unusable as error:  # one question must not end a benchmark: it counts as answered wrongly
            if len(dialogues) > 1:
                return [self._spoken([one], settings, first + place)[0] for place, one in enumerate(dialogues)]
            log.warning("%s has no answer: %s", dialogues[0].key, error)
            return [""]
        return [cut(answer, settings.get("until")) for answer in answers]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[list[str]]:
        """For each request its answers, one a round: the task makes the messages of a round of the answers before it."""
        answers = []
        with self._progress(len(requests)) as bar:
            for index, request in enumerate(requests):
                answers.append(self._rounds(request, index))
                bar.update(1)
        return answers

    def _rounds(self, request: Any, index: int) -> list[str]:
        _, doc_to_messages, settings, doc_id, task, split = request.args
        document = self.task_dict[task][split][doc_id]
        messages, told, answers = doc_to_messages(document), None, list[str]()
        while True:
            one = dialogue(messages, f"{task}:{doc_id}, round {len(answers) + 1}")
            answers += self._spoken([one], settings, index)
            following = doc_to_messages(
                document, round_idx=len(answers), previous_output=list(answers), previous_round_info=told
            )
            if not isinstance(following, tuple) or following[1]:  # a task of one round, or the last round
                return answers
            messages, _, _, told = following

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refused: lmms-eval asks chat models for texts alone."""
        raise NotImplementedError("lmms-eval asks chat models for texts alone: choose a task of output_type generate_until")

    def clean(self) -> None:
        """Free the model's memory, before answers are judged."""
        self.assistant = None
        super().clean()


def dialogue(messages: Sequence[Mapping[str, Any]], key: str) -> Dialogue:
    """Messages as lmms-eval's tasks make them, as a dialogue that ends with the user.

    The texts are those that the chat template of a LLaVA folder makes of the same messages: each image before the first text
    of the first question is on a line of its own. Raises ValueError for a video or sound, and for roles that do not take
    turns.
    """
    texts, images, roles = list[Message](), list[ImageLike](), list[str]()
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        first = message["role"] == "user" and "user" not in roles
        texts.append(Message(message["role"], _text(parts, images, "\n" if first else "", key)))
        roles.append(message["role"])
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        found = ", ".join(roles) or "nobody"
        raise ValueError(f"{key}: messages of {found}: need user and assistant in turn, the user last")
    return Dialogue(key, tuple(images), tuple(texts))


def _text(parts: Sequence[Mapping[str, Any]], images: list[ImageLike], after: str, key: str) -> str:
    """The text of a message with its marks; `after` follows marks before the first text. Images are appended to `images`."""
    text, said = "", False
    for part in parts:
        if part["type"] == "image":
            images.append(part["url"])
            text += IMAGE_MARK
        elif part["type"] != "text":
            raise ValueError(f"{key}: a message holds {part['type']}: this model reads images and text")
        elif part["text"]:
            text = text if said else text.replace(IMAGE_MARK, IMAGE_MARK + after)
            text, said = text + part["text"].replace(IMAGE_MARK, _TEXT_FOR_MARK), True
    return text


def decoding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`generation_kwargs` of a task as keywords of `Assistant.answer`. Raises ValueError for what it does not have."""
    if unknown := sorted(set(settings) - _READ - _ASIDE):
        raise ValueError(f"generation_kwargs has {unknown[0]}: this model has {', '.join(sorted(_READ))} alone")
    if (settings.get("num_beams") or 1) != 1:
        raise ValueError(f"generation_kwargs has num_beams {settings['num_beams']}: there is no beam search, set it to 1")
    temperature, samples = settings.get("temperature"), settings.get("do_sample")
    if temperature is None:
        temperature = 1.0 if samples else 0.0
    return {
        "max_tokens": int(settings.get("max_new_tokens") or _MOST_TOKENS),
        "temperature": 0.0 if samples is False else float(temperature),
        "top_p": 1.0 if settings.get("top_p") is None else float(settings["top_p"]),
    }


def cut(answer: str, until: str | Sequence[str] | None) -> str:
    """The answer before the first of the texts in `until`."""
    for text in [until] if isinstance(until, str) else until or []:
        if text:
            answer = answer.partition(text)[0]
    return answer


def _device(device: str | None) -> torch.device:
    if device and device != "cuda":
        return torch.device(device)
    if not device and not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
