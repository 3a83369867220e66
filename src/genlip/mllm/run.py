"""A run that trains a multimodal LLM: which encoder and language model, which parts are trained, and how chats are written.

In: settings. Out: an `MLLMRun`, which recipes of task "mllm" are read into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from genlip.data.captions import CaptionConfig
from genlip.recipes.run import Run

__all__ = ["PARTS", "ChatConfig", "LearningRates", "MLLMConfig", "MLLMRun"]

PARTS = ("encoder", "projector", "language")


@dataclass(frozen=True, kw_only=True)
class MLLMConfig:
    """The parts of the model, and what the language model reads of an image.

    Attributes:
        encoder: a model of genlip (folder or Hub id), timm:NAME[.TAG], timm:FOLDER, transformers:FOLDER or ID, or one of
            these after "random:", which keeps its architecture and draws new weights.
        checkpoint: weights of a timm:NAME.TAG encoder, a .safetensors file; empty takes those of timm.
        squash: resize whole images to a square for a timm or Transformers encoder that crops.
        interpolate_positions: resample learned positions of such an encoder at another size than its own.
        language_model: a causal language model of Transformers with a tokenizer: a folder, a Hub id, or a .gguf file.
        tiles: pinpoints of anyres tiles as [rows, columns] in tiles, as in [[1, 2], [2, 1], [2, 2], [1, 3], [3, 1]]; an
            image is read once as a whole and once in tiles. Empty reads it once.
        pixel_shuffle: side of the squares of patches that are joined into one token: 1 keeps every patch, 2 gives a quarter.
    """

    encoder: str = ""
    checkpoint: str = ""
    squash: bool = False
    interpolate_positions: bool = False
    language_model: str = ""
    tiles: tuple[tuple[int, int], ...] = ()
    pixel_shuffle: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.pixel_shuffle <= 8:
            raise ValueError(f"model.pixel_shuffle is {self.pixel_shuffle}: it must be from 1 to 8")
        if any(min(rows, columns) < 1 for rows, columns in self.tiles):
            raise ValueError(f"model.tiles {[list(one) for one in self.tiles]}: rows and columns must be at least 1")
        if self.tiles and self.pixel_shuffle > 1:
            raise ValueError("model.tiles and model.pixel_shuffle above 1: use one of both")

    def check_named(self) -> None:
        """Raise ValueError unless both models are named, which a recipe may leave to the command line."""
        for name in ("encoder", "language_model"):
            if not getattr(self, name):
                raise ValueError(f"model.{name} is empty: name one with --model.{name}")


@dataclass(frozen=True, kw_only=True)
class ChatConfig:
    """How a dialogue becomes text, and which of its tokens have a loss.

    Attributes:
        template: "chat" uses the chat template of the language model; "plain" writes images, answers and a line break, and
            drops questions, as LLaVA's first stage does.
        system: text of the system message of dialogues without one; empty leaves it to the template.
        labels: "answers" puts the loss on answers and their ends; "llava" also on what LLaVA-NeXT's code supervises in
            ChatML templates: line breaks, <|im_start|>, <|im_end|> and the assistant's header, in all messages.
    """

    template: Literal["chat", "plain"] = "chat"
    system: str = ""
    labels: Literal["answers", "llava"] = "answers"


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Peak learning rates of the parts.

    Attributes:
        encoder: of the vision encoder; 0 takes optimizer.learning_rate.
        projector: of the projector; 0 takes optimizer.learning_rate.
        language: of the language model; 0 takes optimizer.learning_rate.
    """

    encoder: float = 0.0
    projector: float = 0.0
    language: float = 0.0

    def __post_init__(self) -> None:
        for part in PARTS:
            if not 0 <= getattr(self, part) < math.inf:
                raise ValueError(f"learning_rates.{part} is {getattr(self, part)}: it must be 0 or a positive number")


@dataclass(frozen=True, kw_only=True, repr=False)
class MLLMRun(Run):
    """A run of the task "mllm".

    `init_from` is a folder that such a run has written. `images` says how the encoder reads images; `captions` and
    `tokenizer` are not used.

    Attributes:
        task: what is trained.
        model: the parts of the model.
        chat: how a dialogue becomes text.
        train: the parts that are trained: some of encoder, projector and language.
        learning_rates: of the parts.
    """

    task: str = "mllm"
    model: MLLMConfig = field(default_factory=MLLMConfig)  # type: ignore[assignment]
    chat: ChatConfig = field(default_factory=ChatConfig)
    train: tuple[str, ...] = ("projector",)
    learning_rates: LearningRates = field(default_factory=LearningRates)

    def check_images(self) -> None:
        """Raise ValueError where settings contradict each other."""
        if not self.train or set(self.train) - set(PARTS) or len(set(self.train)) < len(self.train):
            raise ValueError(f"train is {list(self.train)}: need some of {', '.join(PARTS)}, each at most once")
        if self.packing.patch_schedule:
            raise ValueError("packing.patch_schedule is for GenLIP alone: set it to []")
        if self.captions != CaptionConfig() or self.tokenizer != "bpe":
            raise ValueError("captions and tokenizer are not used by task mllm: set chat, and model.language_model")
        if self.compile:
            raise ValueError("compile is true: each pack of dialogues would be compiled anew; set it to false")
        if self.model.tiles and self.images.resize != "fixed":
            raise ValueError("model.tiles are of a fixed size: set images.resize to fixed")
