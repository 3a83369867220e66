"""The MLLM task: trains a projector, a language model and, if wanted, the encoder on dialogues about images.

In: an `MLLMRun`. Out: what the engine asks of a task (genlip.train.task): the loss of answers on packs, held-out loss and
image gain, spoken answers, and a LLaVA folder that Transformers loads.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genlip.data.dialogues import IMAGE_MARK, Dialogue, DialogueSource
from genlip.data.dialogues.opening import open_dialogues
from genlip.data.examples import Unusable
from genlip.encoders.names import split_random
from genlip.evaluate.captioning.generated import GeneratedCaption
from genlip.evaluate.perplexity.answer_losses import answer_losses, with_other_images
from genlip.extras import require
from genlip.mllm.batch import MLLMPack, MLLMSample
from genlip.mllm.chat import Chat
from genlip.mllm.flops import training_flops
from genlip.mllm.folder import MLLMFolder, folder_tokenizer, read_folder, write_folder
from genlip.mllm.language import (
    build_language_model,
    check_head,
    check_packing,
    language_config,
    language_tokenizer,
    load_language_weights,
    recompute_blocks,
    with_image_token,
)
from genlip.mllm.model import MLLM
from genlip.mllm.reader import DialogueReader
from genlip.mllm.run import MLLMRun
from genlip.mllm.tiny_language import TINY, tiny_tokenizer
from genlip.mllm.vision import VisionTower, encoder_of
from genlip.model.checkpoint import CheckpointError
from genlip.train.task import HeldOutSet, Measured, PackTask, ParameterGroup

__all__ = ["MLLMTask"]

log = logging.getLogger(__name__)

_MAX_TOKENS = 64  # of an answer spoken during training
_TOKENIZER_DIALOGUES = 500  # from which a tokenizer is learned


class MLLMTask(PackTask):
    """Trains an `MLLM`; its processor holds the files of the language model's tokenizer."""

    def __init__(self, run: MLLMRun, processor: str) -> None:
        self.run = run
        self.tokenizer = _tokenizer(json.loads(processor))
        self.image_token = with_image_token(self.tokenizer)
        self.chat = Chat(self.tokenizer, run.chat, self.image_token)
        self.language_config = language_config(run.model.language_model)
        self.language_config.vocab_size = max(self.language_config.vocab_size, len(self.tokenizer))

    @classmethod
    def find_processor(cls, run: MLLMRun, source: Any, newest: Path | None) -> str:
        """The files of the tokenizer: of the checkpoint, of `init_from`, or of the language model."""
        run.model.check_named()
        if started := newest or run.init_from:
            tokenizer = folder_tokenizer(started)
        elif run.model.language_model == TINY:
            tokenizer = tiny_tokenizer(_texts(source))
        else:
            tokenizer = language_tokenizer(run.model.language_model)
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            return json.dumps({file.name: file.read_text("utf8") for file in sorted(Path(folder).iterdir())})

    @classmethod
    def open_source(cls, run: MLLMRun, spec: str) -> DialogueSource:
        """Dialogues: published conversations, or captioned images."""
        return open_dialogues(spec, run.data.fields, allow_outside=run.data.allow_outside)

    def reader(self, source: Any) -> DialogueReader:
        """Reads dialogues as the run prepares them."""
        run = self.run
        positions = getattr(self.language_config, "max_position_embeddings", None)
        return DialogueReader(source, self._tower, self.chat, run.model, run.seed, run.packing.max_tokens, positions)

    @cached_property
    def _tower(self) -> VisionTower:
        """The encoder without weights, which prepares images."""
        with torch.device("meta"):
            return VisionTower(encoder_of(self.run, "random"))

    def attention(self, device: torch.device, dtype: torch.dtype) -> str:
        """The attention of the vision tower; the language model has its own."""
        return "sdpa" if self.run.attention == "auto" else self.run.attention

    def build(self, attention: str) -> MLLM:
        """The model; only a projector, and an encoder named "random:…", have values. The parts in `train` are trained."""
        run = self.run
        tower = VisionTower(encoder_of(run, "random"), attention)
        language = build_language_model(self.language_config, len(self.tokenizer))
        model = MLLM(tower, language, run.model.pixel_shuffle, newline=bool(run.model.tiles))
        model.train_parts(run.train)
        if run.activation_checkpointing:
            recompute_blocks(language)
            tower.set_activation_checkpointing("encoder" in run.train)
        return model

    def load_initial(self, model: MLLM) -> None:
        """All weights of `init_from`, or those of the encoder and of the language model."""
        run = self.run
        if run.init_from:
            given = read_folder(run.init_from)
            _check_same_model(run, given)
            self.load_weights(model, given.weights, run.init_from)
        else:
            if not split_random(run.model.encoder)[0]:
                stored = VisionTower(encoder_of(run, "stored")).module
                self.load_weights(model.vision, dict(stored.named_parameters()), run.model.encoder)
            load_language_weights(model.language, run.model.language_model)
        check_head(model.language)
        check_packing(model.language)

    def load_weights(self, model: nn.Module, weights: dict[str, Tensor], name: str) -> None:
        """Copy weights by name. Raises `CheckpointError` for one that the model lacks or needs, or of another shape.

        name  of the folder that they are from, for errors
        """
        own = dict(model.named_parameters())
        if missing := sorted(_needed(model) - weights.keys()):
            raise CheckpointError(f"{name}: lacks {len(missing)} weights that this model has, such as {missing[0]}")
        if unknown := sorted(weights.keys() - own.keys()):
            raise CheckpointError(f"{name}: has {len(unknown)} weights that this model lacks, such as {unknown[0]}")
        with torch.no_grad():
            for key, value in weights.items():
                if value.shape != own[key].shape:
                    raise CheckpointError(f"{name}: {key} has shape {tuple(value.shape)}, and needs {tuple(own[key].shape)}")
                own[key].copy_(value)

    def store_frozen(self, model: MLLM, dtype: torch.dtype) -> None:
        """In bfloat16 where products are: half the memory. Sums and norms of such a part are rounded to it too."""
        if dtype != torch.bfloat16:
            return
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)

    def blocks(self, model: MLLM) -> Sequence[nn.Module]:
        """Blocks of the encoder and of the language model."""
        return model.blocks()

    def parameter_groups(self, model: MLLM) -> Sequence[ParameterGroup]:
        """A group for each part that is trained, with its learning rate."""
        run, found = self.run, []
        for part, module in model.parts().items():
            rate = getattr(run.learning_rates, part) or run.optimizer.learning_rate
            if trained := [p for p in module.parameters() if p.requires_grad]:
                found.append(ParameterGroup(trained, rate / run.optimizer.learning_rate))
        return found

    def idle(self) -> MLLMPack:
        """One token that is not supervised, and no image."""
        nothing = np.zeros(1, bool)
        sample = MLLMSample((), np.zeros(0, np.int64), np.zeros(1, np.int64), nothing, nothing)
        return MLLMPack.of([sample], self._tower.collate, self._tower.empty_image(), self.run.model.pixel_shuffle)

    def flops(self, pack: MLLMPack) -> float:
        """Work of a forward and a backward pass."""
        return training_flops(self._tower, self.language_config, pack, self.run.train, self.run.model.pixel_shuffle)

    def loss(self, model: MLLM, pack: MLLMPack) -> tuple[Tensor, int]:
        """The summed cross-entropy of the supervised tokens in nats, and their number."""
        return model(pack), len(pack.targets)

    def validate(self, model: MLLM, on: HeldOutSet) -> Measured:
        """Held-out loss, image gain where images can be exchanged, and answers to the first questions."""
        model.eval()
        reader = self.reader(on.source)
        right = answer_losses(model, on.samples, reader, self.run.packing.max_tokens)
        figures = {"loss": right[:, 0].sum() / max(1, right[:, 1].sum())}
        places, others = with_other_images(on.samples)
        if places:
            other = answer_losses(model, others, reader, self.run.packing.max_tokens)
            gained = other[:, 0].sum() - right[places, 0].sum()
            figures["picture_gain"] = gained / max(1, other[:, 1].sum())
        return Measured(figures, self._spoken(model, on.source, reader), "nats per token")

    def _spoken(self, model: MLLM, source: Any, reader: DialogueReader) -> list[GeneratedCaption]:
        """Answers to the first question of the first dialogues that have an image."""
        found: list[GeneratedCaption] = []
        for number in range(min(len(source), 4 * self.run.spoken)):
            if len(found) == self.run.spoken:
                break
            try:
                asked, answer = first_question(source[number])
                pack = reader.pack([reader.prompt(asked)]) if asked.images else None
            except Unusable:  # named where held-out samples are read
                continue
            if pack is not None:
                (tokens,) = model.answers([pack.to(model.head.device)], _MAX_TOKENS, self.chat.end_ids)
                spoken = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
                question = asked.messages[-1].text.replace(IMAGE_MARK, "").strip()
                key = f"{asked.key}: {question}" if question else asked.key
                found.append(GeneratedCaption(key, asked.images[0], answer, spoken))
        return found

    def export(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """A LLaVA folder."""
        run = self.run
        stored = getattr(self.language_config, "dtype", None)
        write_folder(
            folder,
            weights=weights,
            encoder=self._tower.encoder,
            language_config=self.language_config,
            tokenizer=self.tokenizer,
            model=run.model,
            images=run.images,
            chat=run.chat,
            image_token=self.image_token,
            chat_template=self.chat.folder_template(),
            dtype=stored if isinstance(stored, torch.dtype) else torch.float32,
            end_ids=self.chat.end_ids,
        )


def first_question(dialogue: Dialogue) -> tuple[Dialogue, str]:
    """A dialogue up to its first question, and the answer."""
    place = next(number for number, message in enumerate(dialogue.messages) if message.role == "assistant")
    before = dialogue.messages[:place]
    marks = sum(message.text.count(IMAGE_MARK) for message in before)
    return Dialogue(dialogue.key, dialogue.images[:marks], before), dialogue.messages[place].text


def _texts(source: Any) -> Iterator[str]:
    """Texts of dialogues from all over a source, for a tokenizer."""
    taken = min(_TOKENIZER_DIALOGUES, len(source))
    for place in range(taken):
        with suppress(Unusable):
            yield from (message.text for message in source[place * len(source) // taken].messages)


def _needed(model: nn.Module) -> set[str]:
    """Names of all parameters but those of the encoder on which features do not depend: folders do not hold these."""
    names = {name for name, _ in model.named_parameters()}
    used = {f"vision.{name}" for name in model.tower.parameters_used()} if isinstance(model, MLLM) else names
    return {name for name in names if name in used or not name.startswith("vision.")}


def _check_same_model(run: MLLMRun, given: MLLMFolder) -> None:
    """Refuse a model whose visual tokens are made in another way; other sizes are found by their weights."""
    for name in ("pixel_shuffle", "tiles"):
        wanted, found = getattr(run.model, name), getattr(given.model, name)
        if wanted != found:
            raise ValueError(f"init_from {run.init_from} was trained with model.{name} {found}, not {wanted}: set the same")
    if given.images != run.images:
        log.warning("init_from %s was trained with %s, and this run reads %s", run.init_from, given.images, run.images)


def _tokenizer(files: dict[str, str]) -> Any:
    library = require("transformers", "mllm")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, "utf8")
        return library.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
