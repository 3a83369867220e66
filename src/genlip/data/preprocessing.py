"""Preprocessing: image settings, caption settings and tokenizer, stored in the model's folder.

In: the folder of a model. Out: `Preprocessing`. A folder that Transformers saved has its settings in the files of our
processor. Published folders have neither; then the published image settings for fixed resolution are used.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from tokenizers import Tokenizer

from genlip.data.captions import CaptionConfig, Captions, load_tokenizer
from genlip.data.images import ImageConfig
from genlip.model.fields import checked, read_fields
from genlip.model.reading import read_json
from genlip.model.writing import write_json, write_text

__all__ = ["Preprocessing", "load_captions", "load_preprocessing", "save_preprocessing"]

log = logging.getLogger(__name__)

PUBLISHED_PROMPT = "Describe the image in detail."
_SETTINGS, _TOKENIZER = "preprocessing.json", "tokenizer.json"
_PROCESSOR, _IMAGE_PROCESSOR = "processor_config.json", "preprocessor_config.json"
_BYTES, _MOST_CHARACTERS = 2**22, 65_536  # limits of a settings file, and of prompt and end together


class _Stored(TypedDict):
    images: dict[str, Any]
    captions: dict[str, Any]


class _Sides(TypedDict):
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a model's images and captions are prepared."""

    images: ImageConfig = field(default_factory=ImageConfig)
    captions: CaptionConfig = field(default_factory=CaptionConfig)


def save_preprocessing(folder: str | os.PathLike[str], settings: Preprocessing, tokenizer: Tokenizer) -> None:
    """Write `preprocessing.json` and `tokenizer.json` beside a model."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / _TOKENIZER, tokenizer.to_str(pretty=True))
    write_json(folder / _SETTINGS, dataclasses.asdict(settings))


def load_preprocessing(folder: str | os.PathLike[str]) -> tuple[Preprocessing, Tokenizer | None]:
    """The settings of a model's folder, and its tokenizer if it has one. Raises ValueError for a damaged file."""
    folder = Path(folder)
    tokenizer = load_tokenizer(folder) if (folder / _TOKENIZER).is_file() else None
    file = folder / _SETTINGS
    if not file.is_file():
        if (saved := _of_transformers(folder)) is not None:
            return saved, tokenizer
        missing = [_SETTINGS] if tokenizer else [_SETTINGS, _TOKENIZER]
        log.warning(
            "%s has no %s: assuming a published model of stage 1, images of 224x224 pixels and the prompt %r; if it is "
            "another, copy %s from the folder of the model that it was made from, or give resize, size, prompt%s",
            folder,
            " and no ".join(missing),
            PUBLISHED_PROMPT,
            " and ".join(missing),
            "" if tokenizer else " and tokenizer",
        )
        return Preprocessing(captions=CaptionConfig(prompt=PUBLISHED_PROMPT)), tokenizer
    try:
        stored = checked(read_json(file, _BYTES), _Stored, "it")
        images, captions = read_fields(ImageConfig, stored["images"], "images"), stored["captions"]
        return Preprocessing(images=images, captions=_bounded(read_fields(CaptionConfig, captions, "captions"))), tokenizer
    except ValueError as error:
        raise ValueError(f"{file}: not the preprocessing of a model: {error}") from error


def load_captions(
    folder: str | os.PathLike[str],
    vocab_size: int,
    tokenizer: str | os.PathLike[str] | None = None,
    prompt: str | None = None,
) -> tuple[Preprocessing, Captions | None]:
    """The settings of a model's folder, and its `Captions`; None if neither the folder nor the caller has a tokenizer.

    vocab_size  of the model: a tokenizer with larger ids is refused
    tokenizer   a tokenizer.json, folder or Hub id, instead of the folder's
    prompt      instead of the one that the model was trained with

    Raises ValueError that names the folder where settings, tokenizer and model do not fit.
    """
    settings, found = load_preprocessing(folder)
    found = found if tokenizer is None else load_tokenizer(tokenizer)
    wording = settings.captions if prompt is None else dataclasses.replace(settings.captions, prompt=prompt)
    try:
        return settings, found and Captions(found, wording, vocab_size)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _of_transformers(folder: Path) -> Preprocessing | None:
    """The settings that `save_pretrained` of our processor, or of our image processor, left in a folder."""
    images: Mapping[str, Any] | None = None
    texts: Mapping[str, Any] = {}
    for name in (_IMAGE_PROCESSOR, _PROCESSOR):
        if not (folder / name).is_file():
            continue
        try:
            stored = checked(read_json(folder / name, _BYTES), dict[str, Any], "it")
            if stored.get("processor_class") == "GenLIPProcessor" and name == _PROCESSOR:
                texts = stored
                stored = checked(
                    stored.get("image_processor", {}), dict[str, Any], "image_processor"
                )  # as of Transformers 5
            if stored.get("image_processor_type") == "GenLIPImageProcessor":
                images = stored
        except ValueError as error:
            raise ValueError(f"{folder / name}: not the settings of a processor: {error}") from error
    if images is None:
        return None
    try:
        captions = {key: texts[key] for key in ("prompt", "end", "max_tokens") if key in texts}
        return Preprocessing(images=_images(images), captions=_bounded(CaptionConfig(**captions)))
    except ValueError as error:
        raise ValueError(f"{folder}: its {_PROCESSOR} or {_IMAGE_PROCESSOR} cannot be used: {error}") from error


def _bounded(captions: CaptionConfig) -> CaptionConfig:
    """Refuse a very long prompt or end, which would be added to every caption."""
    characters = len(captions.prompt) + len(captions.end)
    if characters > _MOST_CHARACTERS:
        raise ValueError(f"captions.prompt and end have {characters:,} characters; the limit is {_MOST_CHARACTERS:,}")
    return captions


def _images(stored: Mapping[str, Any]) -> ImageConfig:
    """Image settings from those of Transformers, where a size has height and width."""
    fields = {key: stored[key] for key in ("resize", "min_patches", "max_patches") if key in stored}
    if "size" in stored:
        height, width = (checked(stored["size"], _Sides, "size")[side] for side in ("height", "width"))
        if height != width:
            raise ValueError(f"size is {height} x {width}: genlip needs a square")
        fields["size"] = height
    return ImageConfig(**fields)
