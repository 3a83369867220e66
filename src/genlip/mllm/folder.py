"""Folder: a multimodal LLM as a LLaVA folder, which Transformers opens and from which a next run starts.

In: weights under their names in training, and the settings of a run. Out: files. `AutoModelForImageTextToText` and
`AutoProcessor` load them once `genlip.remote_code.register()` was called, or by `trust_remote_code=True` without genlip.

The model is a `LlavaForConditionalGeneration` or a `LlavaNextForConditionalGeneration` wherever these compute the same
features as the encoder, else a `GenLIPLlavaForConditionalGeneration`. The names of weights are those of all three classes.
`genlip.json` holds what Transformers has no place for.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import save_file
from torch import Tensor

from genlip.data.images import ImageConfig
from genlip.encoder import Encoder
from genlip.extras import require
from genlip.mllm.folder_settings import (
    add_folder_code,
    generation_config,
    make_processor,
    model_config,
    padding_left,
    text_config,
    token_id_of,
)
from genlip.mllm.hub_tower import HubTower, hub_tower
from genlip.mllm.run import ChatConfig, MLLMConfig
from genlip.model.fields import check_fields, checked, read_fields
from genlip.model.reading import read_json
from genlip.model.weights import CONFIG, INDEX, CheckpointError, read_weights, some, stored_shapes, weight_files
from genlip.model.writing import naming, write_json
from genlip.remote_code import register

__all__ = ["SETTINGS", "MLLMFolder", "folder_tokenizer", "read_folder", "write_folder"]

log = logging.getLogger(__name__)

SETTINGS = "genlip.json"
_SHARD_BYTES = 5 * 10**9
_PROJECTOR = {"projector.newline": "model.image_newline"} | {
    f"projector.{name}": f"model.multi_modal_projector.{name}"
    for name in ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
}


class _Stored(TypedDict):
    model: dict[str, Any]
    images: dict[str, Any]
    chat: dict[str, Any]
    image_token: str
    chat_template: str | None
    vision_prefix: str
    filled: list[str]


@dataclass(frozen=True)
class MLLMFolder:
    """What a run starts from.

    Attributes:
        weights: by their names in training, in the stored dtype.
        model, images, chat: the settings of the run that wrote the folder.
        image_token: the placeholder of visual tokens.
        tokenizer: with the language model's own chat template.
        language_config: of the causal language model.
    """

    weights: dict[str, Tensor]
    model: MLLMConfig
    images: ImageConfig
    chat: ChatConfig
    image_token: str
    tokenizer: Any
    language_config: Any


def write_folder(
    folder: Path,
    *,
    weights: Mapping[str, Tensor],
    encoder: Encoder,
    language_config: Any,
    tokenizer: Any,
    model: MLLMConfig,
    images: ImageConfig,
    chat: ChatConfig,
    image_token: str,
    chat_template: str,
    dtype: torch.dtype,
    end_ids: Sequence[int] = (),
    remote_code: bool = True,
) -> None:
    """Write the files of a model into a folder; the caller puts a finished folder in its place.

    weights          "vision.…", "projector.…" and "language.…", tied ones once; of the encoder those that features need
    encoder          only its configuration and preprocessing are read: its weights may be on the meta device
    language_config  a PreTrainedConfig, of the causal language model; the weights say how many tokens it has
    tokenizer        a PreTrainedTokenizerFast that has `image_token`
    chat_template    of the processor, as `Chat.folder_template` writes it
    dtype            of the stored weights
    end_ids          tokens that end an answer; those of the tokenizer and the language model if there are none
    remote_code      add the code of the classes that Transformers lacks

    Raises ValueError where settings or weights do not fit each other.
    """
    register()
    tower = hub_tower(encoder, images)
    language = _language_names(language_config)
    rows = len(weights[language.embedding]) if language.embedding in weights else language_config.vocab_size
    token_id, text = token_id_of(tokenizer, image_token, rows), text_config(language_config, rows)
    config = model_config(tower, text, model, token_id, dtype)
    named, filled = _hub_weights(weights, config, language, tower)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    processor = make_processor(tower, padding_left(tokenizer), model, image_token, chat_template, config.model_type)
    processor.save_pretrained(folder)
    generation_config(tokenizer, text, end_ids, token_id).save_pretrained(folder)
    _write_weights(folder, named, dtype)
    stored: dict[str, Any] = {
        "model": dataclasses.asdict(model),
        "images": dataclasses.asdict(images),
        "chat": dataclasses.asdict(chat),
    }
    stored |= {"image_token": image_token, "chat_template": tokenizer.chat_template}
    write_json(folder / SETTINGS, stored | {"vision_prefix": tower.inside, "filled": filled})
    if remote_code:
        add_folder_code(folder, tower, config.model_type, bool(model.tiles))


def read_folder(folder: str | os.PathLike[str]) -> MLLMFolder:
    """What `write_folder` wrote. Raises `CheckpointError` for any other folder."""
    library = require("transformers", "mllm")
    register()
    folder = Path(folder)
    stored = _read_settings(folder)
    try:
        text = library.AutoConfig.from_pretrained(folder, trust_remote_code=False).text_config
        model, chat = read_fields(MLLMConfig, stored["model"], "model"), read_fields(ChatConfig, stored["chat"], "chat")
        check_fields(model, "model.")
        images = read_fields(ImageConfig, stored["images"], "images")
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{folder}: not a folder of a multimodal LLM: {error}") from error
    weights = _training_weights(folder, text, stored)
    return MLLMFolder(weights, model, images, chat, stored["image_token"], folder_tokenizer(folder), text)


def folder_tokenizer(folder: str | os.PathLike[str]) -> Any:
    """The tokenizer of a folder that `write_folder` wrote, with the language model's own chat template.

    Raises `CheckpointError` for any other folder.
    """
    library = require("transformers", "mllm")
    register()
    stored = _read_settings(Path(folder))
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{folder}: not a folder of a multimodal LLM: {error}") from error
    tokenizer.chat_template = stored["chat_template"]
    return tokenizer


def _read_settings(folder: Path) -> _Stored:
    file = folder / SETTINGS
    try:
        return checked(read_json(file), _Stored, "it")
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: it has no {SETTINGS}, which runs of task mllm write beside a model") from None
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _hub_weights(
    weights: Mapping[str, Tensor], config: Any, language: _LanguageNames, tower: HubTower
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights by their names in Transformers, and the names in training of those that were filled with zeros.

    Raises ValueError for weights that are missing, of another shape, or of another model.
    """
    needed = _needed(config)
    names = {name: _hub_name(name, language, tower.inside) for name in weights}
    named = {hub: weights[name] for name, hub in names.items() if hub in needed}
    faults = [name for name, hub in names.items() if hub not in needed and not _is_unused(name, tower)]
    if faults:
        raise ValueError(f"weights that a {config.model_type} folder has no place for: {some(sorted(faults))}")
    faults = [hub for hub, value in named.items() if value.shape != needed[hub]]
    if faults:
        shown = [f"{hub} is {list(named[hub].shape)} and must be {list(needed[hub])}" for hub in faults]
        raise ValueError(f"weights of another shape: {some(shown, 5)}")
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set[str]()
    missing = [hub for hub in needed if hub not in named and hub not in tied]
    own = f"model.vision_tower.{tower.inside}"
    filled = [hub for hub in missing if hub.removeprefix(own).startswith(tower.unused) and hub.startswith(own)]
    if lost := sorted(set(missing) - set(filled)):
        raise ValueError(f"weights that are missing: {some(lost)}")
    named |= {hub: torch.zeros(needed[hub]) for hub in filled}
    return named, [f"vision.{hub.removeprefix(own)}" for hub in filled]


def _needed(config: Any) -> dict[str, torch.Size]:
    """Shape of each weight of the model that Transformers builds."""
    library = require("transformers", "mllm")
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        built = library.AutoModelForImageTextToText.from_config(config)
    return {name: value.shape for name, value in built.state_dict().items()}


def _is_unused(name: str, tower: HubTower) -> bool:
    return name.startswith(tuple(f"vision.{one}" for one in tower.unused))


@dataclass(frozen=True)
class _LanguageNames:
    """How a causal language model names its parts.

    Attributes:
        body: what precedes names of weights of its body, as in "model.".
        head: the weight of its head, as in "lm_head.weight".
        embedding: that of its token embedding, as training names it.
    """

    body: str
    head: str
    embedding: str


def _language_names(text: Any) -> _LanguageNames:
    library = require("transformers", "mllm")
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        built = library.AutoModelForCausalLM.from_config(text)
    names = {module: name for name, module in built.named_modules()}
    embedding = names[built.get_input_embeddings()]
    if text.tie_word_embeddings and not hasattr(built.base_model, "embed_tokens"):
        raise ValueError(
            f"{type(built).__name__} ties its head to an embedding that is not called embed_tokens, and the LLaVA classes "
            "of Transformers know no other: use another language model"
        )
    head = names[built.get_output_embeddings()]
    return _LanguageNames(f"{built.base_model_prefix}.", f"{head}.weight", f"language.{embedding}.weight")


def _hub_name(name: str, language: _LanguageNames, inside: str) -> str:
    """The name of a weight in Transformers; empty if it has none."""
    part, _, rest = name.partition(".")
    if part == "vision":
        return f"model.vision_tower.{inside}{rest}"
    if part != "language":
        return _PROJECTOR.get(name, "")
    if rest == language.head:
        return "lm_head.weight"
    return f"model.language_model.{rest.removeprefix(language.body)}" if rest.startswith(language.body) else ""


def _training_name(hub: str, language: _LanguageNames, inside: str) -> str:
    """The name of a weight in training. Raises `CheckpointError` if it has none."""
    if hub == "lm_head.weight":
        return f"language.{language.head}"
    for beginning, own in (
        (f"model.vision_tower.{inside}", "vision."),
        ("model.language_model.", f"language.{language.body}"),
    ):
        if hub.startswith(beginning):
            return own + hub.removeprefix(beginning)
    found = {value: name for name, value in _PROJECTOR.items()}.get(hub)
    if found is None:
        raise CheckpointError(f"{hub} is no weight of a multimodal LLM")
    return found


def _write_weights(folder: Path, named: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write safetensors: one file, or several with an index."""
    shards = list(_shards(named, dtype))
    total = len(shards)
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = "model.safetensors" if total == 1 else f"model-{number:05}-of-{total:05}.safetensors"
        tensors = {name: _stored(named[name], dtype) for name in names}
        with naming(folder / file):
            save_file(tensors, folder / file, metadata={"format": "pt"})
            shutil.copymode(folder / CONFIG, folder / file)  # safetensors makes files readable for the owner only
        places |= dict.fromkeys(names, file)
    if total > 1:
        size = sum(_bytes(value, dtype) for value in named.values())
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": places})


def _shards(named: Mapping[str, Tensor], dtype: torch.dtype) -> Iterator[list[str]]:
    """Names of the weights of each file."""
    names, size = list[str](), 0
    for name, value in named.items():
        more = _bytes(value, dtype)
        if names and size + more > _SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += more
    yield names


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    kept = value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
    return kept.contiguous()


def _bytes(value: Tensor, dtype: torch.dtype) -> int:
    return value.numel() * (dtype.itemsize if value.is_floating_point() else value.element_size())


def _training_weights(folder: Path, text: Any, stored: _Stored) -> dict[str, Tensor]:
    """The weights of a folder by their names in training. Raises `CheckpointError` for a weight of anything else."""
    files, language = weight_files(folder), _language_names(text)
    if files[0].suffix != ".safetensors":
        raise CheckpointError(f"{folder}: no .safetensors files; other formats are not read, because they can run code")
    shapes = stored_shapes(files)
    names = {hub: _training_name(hub, language, stored["vision_prefix"]) for hub in shapes}
    found = read_weights(files, {hub for hub, name in names.items() if name not in stored["filled"]})
    return {names[hub]: value for hub, value in found.items()}
