"""Settings of a LLaVA folder: which classes of Transformers it names, and their configs.

In: what a folder says of the encoder, and the settings of a run. Out: config, processor and generation config of
Transformers, and the files of code that it lacks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from genlip.extras import require
from genlip.mllm.hub_tower import HubTower
from genlip.mllm.run import MLLMConfig

__all__ = [
    "add_folder_code",
    "generation_config",
    "make_processor",
    "model_config",
    "padding_left",
    "text_config",
    "token_id_of",
]

_LLAVA_FILES = ("configuration_genlip", "modeling_genlip", "configuration_genlip_llava", "modeling_genlip_llava")
_OWN, _PLAIN, _NEXT = "genlip_llava", "llava", "llava_next"
_CLASSES = {  # config and model: those of Transformers, and those of genlip.remote_code for trust_remote_code
    _OWN: ("GenLIPLlavaConfig", "GenLIPLlavaForConditionalGeneration"),
    _PLAIN: ("LlavaWithGenLIPConfig", "LlavaWithGenLIP"),
    _NEXT: ("LlavaNextWithGenLIPConfig", "LlavaNextWithGenLIP"),
}
_BICUBIC = 3  # of Pillow: tiles are resized as genlip resizes images


def token_id_of(tokenizer: Any, image_token: str, vocab_size: int) -> int:
    """The number of the image token. Raises ValueError if tokenizer or language model lack it."""
    found = tokenizer.get_vocab().get(image_token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {image_token!r} for images: add it as a special token")
    if found >= vocab_size:
        raise ValueError(
            f"the image token {image_token!r} is number {found}, and the language model has {vocab_size} tokens: resize its "
            "embeddings first"
        )
    return int(found)


def text_config(language_config: Any, vocab_size: int) -> Any:
    """A copy for a folder: with a cache, and without what training sets, such as the attention of packs."""
    keys = language_config.to_dict() | {"use_cache": True, "vocab_size": vocab_size}
    return type(language_config).from_dict(keys)


def _kind(tower: HubTower, model: MLLMConfig) -> str:
    if model.pixel_shuffle > 1 or tower.llava is None:
        return _OWN
    return _NEXT if model.tiles else _PLAIN


def model_config(tower: HubTower, text: Any, model: MLLMConfig, token_id: int, dtype: torch.dtype) -> Any:
    """The config of the whole model. Raises ValueError for tiles without a size."""
    library = require("transformers", "mllm")
    from genlip.remote_code.configuration_genlip_llava import GenLIPLlavaConfig

    kind = _kind(tower, model)
    settings: dict[str, Any] = {
        "vision_config": tower.config,
        "text_config": text,
        "image_token_index": token_id,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": tower.llava or "full",
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": bool(text.tie_word_embeddings),
        "dtype": str(dtype).removeprefix("torch."),
    }
    if tower.size:
        settings["image_seq_length"] = (tower.size // tower.patch_size // model.pixel_shuffle) ** 2
    if model.tiles:
        settings["image_grid_pinpoints"] = _pinpoints(tower, model)
    if kind != _OWN:
        made = library.LlavaNextConfig if kind == _NEXT else library.LlavaConfig
        architecture = "LlavaNextForConditionalGeneration" if kind == _NEXT else "LlavaForConditionalGeneration"
        return made(architectures=[architecture], **settings)
    return GenLIPLlavaConfig(
        architectures=[_CLASSES[_OWN][1]],
        vision_hidden_size=tower.width,
        vision_patch_size=tower.patch_size,
        vision_image_size=tower.size or 0,
        vision_prefix_tokens=tower.prefix_tokens,
        interpolate_positions=tower.interpolate,
        pixel_shuffle=model.pixel_shuffle,
        **settings,
    )


def _pinpoints(tower: HubTower, model: MLLMConfig) -> list[list[int]]:
    """[height, width] of the grids of tiles in pixels."""
    if tower.size is None:
        raise ValueError("model.tiles need an encoder with images of a fixed size, and this one keeps their aspect ratio")
    return [[rows * tower.size, columns * tower.size] for rows, columns in model.tiles]


def padding_left(tokenizer: Any) -> Any:
    """A copy that pads on the left, so that generation starts at the same place in the whole batch."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"  # the latter is what is saved
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def make_processor(
    tower: HubTower, tokenizer: Any, model: MLLMConfig, image_token: str, chat_template: str, kind: str
) -> Any:
    """The processor: LLaVA's, LLaVA-NeXT's for tiles, or ours."""
    library = require("transformers", "mllm")
    from genlip.remote_code.processing_genlip_llava import GenLIPLlavaProcessor

    texts = {"tokenizer": tokenizer, "chat_template": chat_template, "image_token": image_token}
    if kind == _OWN and not model.tiles:
        return GenLIPLlavaProcessor(
            tower.image_processor, patch_size=tower.patch_size, pixel_shuffle=model.pixel_shuffle, **texts
        )
    strategy = "full" if kind == _OWN else tower.llava
    counted = {
        "patch_size": tower.patch_size,
        "vision_feature_select_strategy": strategy,
        "num_additional_image_tokens": int(strategy == "default"),
    }
    if not model.tiles:
        return library.LlavaProcessor(tower.image_processor, **counted, **texts)
    side = tower.size
    tiles = library.LlavaNextImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, resample=_BICUBIC,
        image_grid_pinpoints=_pinpoints(tower, model), **tower.normalization,
    )  # fmt: skip
    return library.LlavaNextProcessor(tiles, **counted, **texts)


def generation_config(tokenizer: Any, text: Any, end_ids: Sequence[int], token_id: int) -> Any:
    """Greedy generation that ends where answers end, and never generates the placeholder of an image."""
    library = require("transformers", "mllm")
    ends = list(end_ids)
    if not ends:
        own = text.eos_token_id if isinstance(text.eos_token_id, (list, tuple)) else [text.eos_token_id]
        ends = [one for one in dict.fromkeys([tokenizer.eos_token_id, *own]) if one is not None]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ends), None)
    return library.GenerationConfig(eos_token_id=ends or None, pad_token_id=pad, suppress_tokens=[token_id])


def add_folder_code(folder: Path, tower: HubTower, kind: str, tiles: bool) -> None:
    """Copy the code that Transformers lacks, and name its classes."""
    from genlip.remote_code.settings import add_code

    if kind != _OWN and not tower.code:  # all classes are Transformers' own
        return
    config, model = _CLASSES[kind]
    models = {
        "AutoConfig": f"configuration_genlip_llava.{config}",
        "AutoModelForImageTextToText": f"modeling_genlip_llava.{model}",
    }
    processors, files = dict[str, str](), list(_LLAVA_FILES)
    if not tiles:  # else both processors are Transformers' own
        files += tower.code
        if tower.auto_image_processor:
            processors["AutoImageProcessor"] = tower.auto_image_processor
        if kind == _OWN:
            processors["AutoProcessor"] = "processing_genlip_llava.GenLIPLlavaProcessor"
            files.append("processing_genlip_llava")
    add_code(folder, dict.fromkeys(files), models, processors)
