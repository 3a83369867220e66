"""A folder for Transformers from a genlip folder: the same weight file, and the settings files of Transformers.

In: a model's folder. Out: another folder, which `from_pretrained` of the Auto classes and `genlip.load` both read. With
`remote_code` it also contains the code of this package's Transformers models, for machines without genlip.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedTokenizerFast

from genlip.data.captions import Captions
from genlip.data.preprocessing import Preprocessing, load_captions, save_preprocessing
from genlip.export.folders import replaced, source_and_target
from genlip.model.checkpoint import load, save
from genlip.model.genlip import GenLIP
from genlip.remote_code.configuration_genlip import GenLIPConfig
from genlip.remote_code.processing_genlip import GenLIPProcessor
from genlip.remote_code.settings import add_code, hub_config, image_processor

__all__ = ["export_transformers"]

log = logging.getLogger(__name__)

IMAGE_TOKEN = "<|image_pad|>"
_FILES = ("configuration_genlip", "modeling_genlip", "image_processing_genlip", "processing_genlip")
_MODELS = {
    "AutoConfig": "configuration_genlip.GenLIPConfig",
    "AutoModel": "modeling_genlip.GenLIPVisionModel",
    "AutoModelForImageTextToText": "modeling_genlip.GenLIPForConditionalGeneration",
}
_PROCESSORS = {
    "AutoImageProcessor": "image_processing_genlip.GenLIPImageProcessor",
    "AutoProcessor": "processing_genlip.GenLIPProcessor",
}


def export_transformers(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    remote_code: bool = False,
    tokenizer: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a folder that Transformers and genlip read.

    model        a folder, or an id on the Hub
    dtype        of the weights; None keeps the stored one
    remote_code  add the code, for `trust_remote_code=True` where genlip is not installed
    tokenizer    a tokenizer.json, folder or Hub id, if the model's folder has none; without any, there is no text processor
    """
    source, target = source_and_target(model, out)
    loaded = load(source, dtype=dtype)
    settings, captions = load_captions(source, loaded.config.vocab_size, tokenizer)
    with replaced(target) as workplace:
        _write(loaded, settings, captions, workplace, remote_code)
    if captions is None:
        log.warning(
            "%s has no tokenizer.json: no processor for texts was written; name a tokenizer (--tokenizer), for published "
            "models Qwen/Qwen3-0.6B",
            source,
        )
    return target


def _write(model: GenLIP, settings: Preprocessing, captions: Captions | None, out: Path, remote_code: bool) -> None:
    save(model, out)
    if captions is None:
        _hub_config_of(model, settings).save_pretrained(out)
        image_processor(settings.images, model.config).save_pretrained(out)
    else:
        _save_with_tokenizer(model, settings, captions, out)
    if remote_code:
        add_code(out, _FILES, _MODELS, _PROCESSORS)


def _save_with_tokenizer(model: GenLIP, settings: Preprocessing, captions: Captions, out: Path) -> None:
    """Save all settings of a model with a tokenizer, genlip's and Transformers'."""
    tokenizer = captions.tokenizer
    end = tokenizer.id_to_token(captions.end_ids[0]) or ""
    image_token = _image_token(tokenizer, model.config.vocab_size, end)
    save_preprocessing(out, settings, tokenizer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end, padding_side="left")
    images, texts = image_processor(settings.images, model.config), settings.captions
    processor = GenLIPProcessor(
        images, wrapped, chat_template=_chat_template(texts.prompt), prompt=texts.prompt, end=texts.end,
        image_token=image_token, max_tokens=texts.max_tokens,
    )  # fmt: skip
    processor.save_pretrained(out)
    ids = {"eos_token_id": captions.end_ids[0], "pad_token_id": captions.end_ids[0]}
    placeholder = tokenizer.token_to_id(image_token)
    _hub_config_of(model, settings, image_token_id=placeholder, **ids).save_pretrained(out)
    GenerationConfig(max_new_tokens=256, **ids).save_pretrained(out)


def _chat_template(prompt: str) -> str:
    """A Jinja template that concatenates the texts of a conversation; without text, it gives the model's own prompt.

    Jinja reads escapes as Python does. JSON escapes a character above U+FFFF as two surrogates, which Python does not join,
    so `ensure_ascii` is off.
    """
    own = json.dumps(prompt, ensure_ascii=False)
    return (
        "{%- set said = namespace(text='') -%}{%- for message in messages -%}"
        "{%- for part in ([] if message.content is string else message.content) if part.type == 'text' -%}"
        "{%- set said.text = said.text + part.text -%}{%- endfor -%}"
        "{%- if message.content is string -%}{%- set said.text = said.text + message.content -%}{%- endif -%}"
        "{%- endfor -%}{{ said.text or " + own + " }}"
    )


def _image_token(tokenizer: Tokenizer, vocab_size: int, end: str) -> str:
    """The placeholder of a patch: the tokenizer's own, a new token if the vocabulary has room, else the end token.

    Its embedding is never used. The end token as a placeholder only affects penalties on earlier tokens, such as
    `repetition_penalty`.
    """
    if tokenizer.token_to_id(IMAGE_TOKEN) is not None:
        return IMAGE_TOKEN
    if max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1 < vocab_size:
        tokenizer.add_special_tokens([IMAGE_TOKEN])
        return IMAGE_TOKEN
    return end


def _hub_config_of(model: GenLIP, settings: Preprocessing, **more: Any) -> GenLIPConfig:
    """`hub_config` with the model's dtype and image size."""
    if settings.images.resize == "fixed":
        more["image_size"] = settings.images.size
    return hub_config(model.config, dtype=str(model.ln_post.weight.dtype).removeprefix("torch."), **more)
