"""Assistant: a multimodal LLM that answers questions about images, from any folder whose classes Transformers or genlip has.

In: images, questions, dialogues. Out: answers, whole or in pieces as they are generated. Images are decoded by genlip, and
everything else is done by the folder's own processor and model. Code of a folder is never run; only safetensors are read.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from genlip.data.captions import text_pieces
from genlip.data.dialogues import IMAGE_MARK, Dialogue, Message
from genlip.data.examples import ImageLike, Unusable
from genlip.data.images import ImageError, decode
from genlip.encoder import weights_fingerprint
from genlip.extras import require
from genlip.mllm.folder import SETTINGS
from genlip.mllm.generated_tokens import generated_tokens, seeded
from genlip.model.checkpoint import CheckpointError, model_near
from genlip.model.decoding import Decoding
from genlip.model.download import fetch
from genlip.model.files import one_line
from genlip.remote_code import register
from genlip.suggestions import check_keywords

__all__ = ["Assistant", "Conversation", "PreparedDialogue"]

_DECODING = ("max_tokens", "temperature", "top_k", "top_p", "seed")


class PreparedDialogue(NamedTuple):
    """A dialogue that is ready for the model: its text as the chat template writes it, and its decoded images."""

    text: str
    images: tuple[Image.Image, ...]


class _Generation(NamedTuple):
    config: Any  # a GenerationConfig
    seed: int

    @property
    def ends(self) -> set[int]:
        """Tokens that end an answer."""
        found = self.config.eos_token_id
        return set(found) if isinstance(found, (list, tuple)) else {found}


class Assistant:
    """A model of Transformers that reads images and texts, with its processor.

    >>> assistant = Assistant.load("runs/llava/model")  # doctest: +SKIP
    >>> assistant.ask("photo.jpg", "What is this?")  # doctest: +SKIP

    Decoding is greedy unless keywords say otherwise: max_tokens, temperature, top_k, top_p and seed of `Decoding`.

    Attributes:
        name: what messages call it.
        model: of Transformers.
        processor: of Transformers.
        max_pixels: images with more pixels than this are refused before they are decoded.
    """

    def __init__(self, model: Any, processor: Any, name: str = "assistant", *, marks_in_texts: bool = False) -> None:
        """`marks_in_texts`: the chat template takes texts that hold the image token, as that of a folder of genlip does."""
        self.name, self.model, self.processor = name, model.eval(), processor
        self.max_pixels = 100_000_000
        self._marks_in_texts = marks_in_texts
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"  # generation starts at the same place in the whole batch
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._control = _control_tokens(processor)

    @classmethod
    def load(
        cls,
        folder_or_hub_id: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
    ) -> Assistant:
        """Load a folder, or a repository of the Hub; `dtype` None keeps the stored one.

        Raises `CheckpointError` for a folder that is no such model, lacks weights or has no safetensors.
        """
        library = require("transformers", "mllm")
        register()
        name = os.fspath(folder_or_hub_id)
        folder = _folder(name, revision)
        _check(library, name, folder)
        try:
            model, report = library.AutoModelForImageTextToText.from_pretrained(
                folder, dtype=dtype or "auto", use_safetensors=True, output_loading_info=True, trust_remote_code=False
            )
            processor = library.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        except (ValueError, OSError, KeyError) as error:
            raise CheckpointError(f"{name}: Transformers cannot load it: {one_line(str(error))}") from error
        if missing := sorted(report["missing_keys"]):
            raise CheckpointError(f"{name}: {len(missing)} weights are missing, such as {', '.join(missing[:3])}")
        return cls(model.to(device), processor, name, marks_in_texts=(folder / SETTINGS).is_file())

    def __repr__(self) -> str:
        millions = sum(parameter.numel() for parameter in self.model.parameters()) / 1e6
        kind = str(self.dtype).removeprefix("torch.")
        return f"Assistant({self.name}, {type(self.model).__name__} of {millions:,.1f} M, {kind} on {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(self.model.parameters()).dtype  # type: ignore[no-any-return]

    def image_settings(self) -> dict[str, Any]:
        """What `Result.settings` records of how images are prepared, see `Encoder.image_settings`."""
        images = self.processor.image_processor
        transform = getattr(images, "transform", {})  # of timm
        if getattr(images, "resize", None) == "native":
            return {"resize": "native", "patches": [images.min_patches, images.max_patches]}
        if most := getattr(images, "max_num_patches", None) or transform.get("max_seq_len"):
            return {"resize": "native", "patches": [1, most]}
        tiles = getattr(images, "image_grid_pinpoints", None)
        side = transform["input_size"][1] if transform else _side(images)
        found: dict[str, Any] = {"resize": "fixed", "size": side} if side else {"resize": "native"}
        return found | ({"tiles": [list(one) for one in tiles]} if tiles else {})

    def fingerprint(self) -> str:
        """Digest of all weights."""
        return weights_fingerprint(self.model)

    def ask(self, images: ImageLike | Sequence[ImageLike], question: str, *, system: str = "", **decoding: Any) -> str:
        """The answer to a question about images.

        images    one, several, or an empty list
        question  with <image> at the places of the images; without these marks, all images come first
        system    text of a system message; the model's own if it is empty

        Raises `Unusable` for an image that cannot be used, and for a question that holds control tokens.
        """
        return self.answer([_dialogue(images, question, system)], **decoding)[0]

    def stream(
        self, images: ImageLike | Sequence[ImageLike], question: str, *, system: str = "", **decoding: Any
    ) -> Iterator[str]:
        """The answer in pieces, as they are generated; they join to that of `ask`, up to white space around it."""
        return self.stream_answer(_dialogue(images, question, system), **decoding)

    def conversation(self, images: ImageLike | Sequence[ImageLike] = (), *, system: str = "") -> Conversation:
        """A conversation that remembers what was said; `images` belong to the first question."""
        return Conversation(self, list(_several(images)), [Message("system", system)] if system else [])

    def answer(self, dialogues: Sequence[Dialogue | PreparedDialogue], batch_size: int = 8, **decoding: Any) -> list[str]:
        """An answer to each dialogue, in order; each ends with a message of the user.

        Answers do not depend on the batch, apart from rounding. Raises `Unusable` as `ask` does.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
        settings, found = self._generation(decoding), dict[int, str]()
        questions = [one if isinstance(one, PreparedDialogue) else self.prepare(one) for one in dialogues]
        # Not every processor takes images for some texts of a batch only.
        for some in ([n for n, one in enumerate(questions) if bool(one.images) == has] for has in (True, False)):
            for start in range(0, len(some), batch_size):
                places = some[start : start + batch_size]
                answers = self._generate([questions[place] for place in places], settings)
                found |= dict(zip(places, answers, strict=True))
        return [found[place] for place in range(len(questions))]

    def stream_answer(self, dialogue: Dialogue | PreparedDialogue, **decoding: Any) -> Iterator[str]:
        """The answer to a dialogue in pieces, as they are generated."""
        settings = self._generation(decoding)
        prepared = dialogue if isinstance(dialogue, PreparedDialogue) else self.prepare(dialogue)
        tokens = generated_tokens(self.model, self._inputs([prepared]), settings.config, settings.seed)
        said = (token for token in tokens if token not in settings.ends)
        return text_pieces(self.processor.tokenizer.backend_tokenizer, said)

    def prepare(self, dialogue: Dialogue) -> PreparedDialogue:
        """Decode the images of a dialogue and write its text; the other methods take it too. Raises `Unusable`."""
        if not dialogue.messages or dialogue.messages[-1].role != "user":
            raise ValueError(f"{_prefix(dialogue.key)}the last message must be of the user: it is what is answered")
        marks = sum(message.text.count(IMAGE_MARK) for message in dialogue.messages)
        if marks != len(dialogue.images):
            raise Unusable(
                "marks", f"{_prefix(dialogue.key)}{marks} of {IMAGE_MARK} in the texts for {len(dialogue.images)} images"
            )
        for message in dialogue.messages:
            self._check_text(dialogue.key, message)
        written = [{"role": one.role, "content": self._content(one.text)} for one in dialogue.messages]
        try:
            text = self.processor.apply_chat_template(written, add_generation_prompt=True, tokenize=False)
        except (ValueError, _template_error()) as error:
            raise ValueError(
                f"{self.name}: its chat template cannot write these messages: {one_line(str(error))}"
            ) from error
        if not text:
            raise Unusable(
                "empty prompt",
                f"{_prefix(dialogue.key)}the chat template of {self.name} writes nothing: after training with chat.template "
                "plain a model reads images and no questions; give an image, or train it with chat.template chat",
            )
        return PreparedDialogue(text, tuple(self._decoded(dialogue.key, image) for image in dialogue.images))

    def _check_text(self, key: str, message: Message) -> None:
        if found := self._control.search(message.text.replace(IMAGE_MARK, "\n")):
            raise Unusable(
                "control token",
                f"{_prefix(key)}the {message.role}'s text holds {found[0]!r}, a control token of this model: remove it",
            )

    def _content(self, text: str) -> str | list[dict[str, str]]:
        """The content of a message as the chat template takes it."""
        if self._marks_in_texts:
            return text.replace(IMAGE_MARK, self.processor.image_token)
        pieces = re.split(f"({re.escape(IMAGE_MARK)})", text)
        stripped = [piece if piece == IMAGE_MARK else piece.strip() for piece in pieces]
        return [{"type": "image"} if piece == IMAGE_MARK else {"type": "text", "text": piece} for piece in stripped if piece]

    def _decoded(self, key: str, image: ImageLike) -> Image.Image:
        try:
            return decode(image, self.max_pixels)
        except ImageError as error:
            raise ImageError(error.reason, f"{_prefix(key)}{error}") from None

    def _inputs(self, questions: Sequence[PreparedDialogue]) -> Any:
        """The inputs of a batch, on the model's device."""
        images = [list(one.images) for one in questions] if questions[0].images else None
        texts, bos = [one.text for one in questions], self.processor.tokenizer.bos_token
        # As in `apply_chat_template` of Transformers: a template that writes the first token writes all special tokens.
        special = {"add_special_tokens": False} if bos and texts[0].startswith(bos) else {}
        inputs = self.processor(text=texts, images=images, return_tensors="pt", padding=True, **special)
        return inputs.to(self.device, self.dtype)

    def _generate(self, questions: Sequence[PreparedDialogue], settings: _Generation) -> list[str]:
        inputs = self._inputs(questions)
        with seeded(settings.seed, self.device):
            rows = self.model.generate(**inputs, generation_config=settings.config)
        new: Tensor = rows[:, inputs["input_ids"].shape[1] :]
        return [self._text(row, settings.ends) for row in new.tolist()]

    def _text(self, ids: list[int], ends: set[int]) -> str:
        """Generated tokens up to the end of the answer, as text."""
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        return str(self.processor.tokenizer.decode(ids[:length], skip_special_tokens=True)).strip()

    def _generation(self, decoding: dict[str, Any]) -> _Generation:
        """The folder's generation config with our settings in it."""
        check_keywords("Assistant", decoding, _DECODING)
        chosen = Decoding(**decoding)
        config = copy.deepcopy(self.model.generation_config)
        sampled = chosen.temperature > 0
        config.update(
            do_sample=sampled,
            num_beams=1,
            temperature=chosen.temperature if sampled else None,
            top_k=chosen.top_k if sampled else None,
            top_p=chosen.top_p if sampled else None,
            max_new_tokens=chosen.max_tokens,
            max_length=None,
        )
        if config.pad_token_id is None:
            config.pad_token_id = self.processor.tokenizer.pad_token_id
        return _Generation(config, chosen.seed)


class Conversation:
    """Questions and answers that follow each other; each answer is given in view of all before it.

    Attributes:
        messages: so far.
        images: of the messages, in the order of their marks.
    """

    def __init__(self, assistant: Assistant, images: list[ImageLike], messages: list[Message]) -> None:
        """`images` belong to the next question."""
        self.messages, self.images = messages, list[ImageLike]()
        self._assistant, self._next = assistant, images

    def ask(self, question: str, images: ImageLike | Sequence[ImageLike] = (), **decoding: Any) -> str:
        """The answer to the next question, about more images if there are any."""
        return "".join(self.stream(question, images, **decoding)).strip()

    def stream(self, question: str, images: ImageLike | Sequence[ImageLike] = (), **decoding: Any) -> Iterator[str]:
        """The same in pieces. A question counts as asked once its answer has ended."""
        new = [*self._next, *_several(images)]
        messages = [*self.messages, Message("user", _marked(question, len(new)))]
        dialogue = Dialogue("", (*self.images, *new), tuple(messages))
        said = list[str]()
        for piece in self._assistant.stream_answer(dialogue, **decoding):
            said.append(piece)
            yield piece
        self.messages, self.images = [*messages, Message("assistant", "".join(said).strip())], list(dialogue.images)
        self._next = []


def _dialogue(images: ImageLike | Sequence[ImageLike], question: str, system: str) -> Dialogue:
    several = tuple(_several(images))
    asked = Message("user", _marked(question, len(several)))
    return Dialogue("", several, (Message("system", system), asked) if system else (asked,))


def _several(images: ImageLike | Sequence[ImageLike]) -> Sequence[ImageLike]:
    return [images] if isinstance(images, (bytes, str, os.PathLike, Image.Image)) else images


def _marked(question: str, images: int) -> str:
    """A question with a mark for each image; without marks of its own, they come first, each on a line."""
    return question if IMAGE_MARK in question else f"{IMAGE_MARK}\n" * images + question


def _side(images: Any) -> int | None:
    """Side in pixels of the images that an image processor of Transformers makes; None where it varies."""
    size = images.crop_size if getattr(images, "do_center_crop", False) else images.size
    found = dict(size or {})
    if found.get("longest_edge"):
        return None
    return found.get("height") or found.get("shortest_edge")


def _prefix(key: str) -> str:
    return f"{key}: " if key else ""


def _control_tokens(processor: Any) -> re.Pattern[str]:
    """Finds the texts that the tokenizer reads as special tokens."""
    tokenizer = processor.tokenizer
    found = {one.content for one in tokenizer.added_tokens_decoder.values() if one.special}
    found |= {getattr(processor, name, None) or "" for name in ("image_token", "video_token", "audio_token")}
    return re.compile("|".join(re.escape(one) for one in sorted(found, key=len, reverse=True) if one) or "(?!)")


def _template_error() -> type[Exception]:
    import jinja2

    return jinja2.TemplateError


def _folder(name: str, revision: str | None) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        near = model_near(name)
        hint = f"did you mean {near}?" if near else "need a folder, or a Hub id owner/name"
        raise CheckpointError(f"{name}: no such folder; {hint}")
    return fetch(name, revision, pickles=False)


def _check(library: Any, name: str, folder: Path) -> None:
    """Raise `CheckpointError` for a folder whose model cannot be asked."""
    if not (folder / "config.json").is_file():
        near = model_near(folder)
        raise CheckpointError(f"{name}: it has no config.json" + (f"; did you mean {near}?" if near else ""))
    try:
        config = library.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise CheckpointError(
            f"{name}: neither Transformers nor genlip has its classes, and its own code is not run: {one_line(str(error))}"
        ) from error
    if config.model_type == "genlip":
        raise CheckpointError(f"{name} holds a GenLIP, which captions images and answers no questions: use genlip caption")
    if type(config) not in library.AutoModelForImageTextToText._model_mapping:
        raise CheckpointError(f"{name} holds a {config.model_type}: need a model that reads images and texts, as of LLaVA")
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{name}: no .safetensors file; other formats are not read, because they can run code")
    if getattr(getattr(config, "vision_config", None), "model_type", "") == "timm_wrapper":
        require("timm", "timm")
