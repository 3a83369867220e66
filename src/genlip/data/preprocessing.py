"""What a model was fed with: image settings, caption settings and tokenizer, kept in the model's folder.

In: the folder of a model. Out: `Preprocessing`. Published folders lack our file; then the image settings are the published
ones for fixed resolution, and the tokenizer is the folder's own.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from genlip.data.captions import CaptionConfig, load_tokenizer
from genlip.data.images import ImageConfig

__all__ = ["Preprocessing", "load_preprocessing", "save_preprocessing"]

log = logging.getLogger(__name__)

PUBLISHED_PROMPT = "Describe the image in detail."
_SETTINGS, _TOKENIZER = "preprocessing.json", "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a model's images and captions are prepared."""

    images: ImageConfig = field(default_factory=ImageConfig)
    captions: CaptionConfig = field(default_factory=CaptionConfig)


def save_preprocessing(folder: str | os.PathLike[str], settings: Preprocessing, tokenizer: Tokenizer) -> None:
    """Write `preprocessing.json` and `tokenizer.json` beside a model."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SETTINGS).write_text(json.dumps(dataclasses.asdict(settings), indent=2) + "\n", encoding="utf8")
    tokenizer.save(str(folder / _TOKENIZER))


def load_preprocessing(folder: str | os.PathLike[str]) -> tuple[Preprocessing, Tokenizer | None]:
    """The settings of a model's folder, and its tokenizer if it has one. Raises ValueError for a damaged file."""
    folder = Path(folder)
    tokenizer = load_tokenizer(folder) if (folder / _TOKENIZER).is_file() else None
    file = folder / _SETTINGS
    if not file.is_file():
        log.warning(
            "%s has no %s: assuming a published model of stage 1, images of 224x224 pixels and the prompt %r; "
            "other models need other settings (resize, size, prompt)",
            folder,
            _SETTINGS,
            PUBLISHED_PROMPT,
        )
        return Preprocessing(captions=CaptionConfig(prompt=PUBLISHED_PROMPT)), tokenizer
    try:
        stored = json.loads(file.read_text(encoding="utf8"))
        images, captions = ImageConfig(**stored["images"]), CaptionConfig(**stored["captions"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file}: not the preprocessing of a model: {error}") from error
    return Preprocessing(images=images, captions=captions), tokenizer
