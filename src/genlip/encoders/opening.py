"""Opening: any encoder by the name that a command or a recipe gives it.

In: a folder or Hub id of genlip, `timm:NAME[.TAG]`, `timm:FOLDER`, or `transformers:FOLDER` or ID. Out: an `Encoder`.

"random:" before a name keeps architecture and preprocessing and draws new weights from PyTorch's global generator, on the
default device. No weights are read then. Under `with torch.device("meta"):` nothing is allocated either: a planner counts
such a model's parameters, and worker processes prepare images with it. The encoder's name begins with "random:", so results
of it are never mixed up with those of the trained model.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from genlip.data.images import ImageConfig
from genlip.data.preprocessing import load_preprocessing
from genlip.encoder import Encoder
from genlip.encoders.names import check_genlip, library_of, split_random
from genlip.encoders.timm_encoder import timm
from genlip.encoders.tower import placed
from genlip.encoders.transformers_encoder import transformers
from genlip.model.checkpoint import CheckpointError, checkpoint_folder, read_config
from genlip.model.config import PRESETS, GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.recipes.recipe import load_recipe, recipe_names
from genlip.speaker import Speaker

__all__ = ["open_encoder"]


def open_encoder(
    name: str,
    *,
    images: ImageConfig | None = None,
    checkpoint: str = "",
    squash: bool = False,
    interpolate_positions: bool = False,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Literal["stored", "random"] = "stored",
) -> Encoder:
    """The encoder of a name.

    name      a model of genlip (folder or Hub id), timm:NAME[.TAG], timm:FOLDER, transformers:FOLDER or ID; or one of these
              after "random:". Of genlip, random weights are also drawn for a preset, as in random:l16, and for a folder
              that a recipe of the package will write, as in random:runs/stage2_so16/model
    images    how images are read; None takes the model's own settings. Models of timm and Transformers take from it the
              size of a fixed image, or the most patches of a native one, and the most pixels
    checkpoint, squash, interpolate_positions  see `genlip.encoders.timm`
    revision  branch, tag or commit on the Hub
    device    where the parameters are put; random ones that were drawn on the default device "meta" stay there
    weights   "random" draws new weights, as "random:" before the name does

    Raises ValueError for options that a model does not have and for images that it cannot read, and `CheckpointError` for
    weights that are missing or do not fit.
    """
    is_random, bare = split_random(name)
    is_random = is_random or weights == "random"
    _check_options(name, is_random, checkpoint, squash, interpolate_positions, revision)
    on_meta = torch.device(device).type == "meta"
    library, rest = library_of(bare)
    if not is_random and (on_meta or torch.get_default_device().type == "meta"):
        raise ValueError(f'{name}: stored weights cannot be read on the device "meta": give weights="random"')
    given: dict[str, Any] = {"device": device, "dtype": dtype}
    encoder: Encoder
    with torch.device("meta") if on_meta else nullcontext():
        if not library:
            return _random_genlip(bare, images, revision, **given) if is_random else _genlip(name, images, revision, **given)
        given |= {"pretrained": not is_random, "squash": squash, "interpolate_positions": interpolate_positions}
        given |= _limit(images)
        if library == "timm":
            encoder = timm(rest, checkpoint=checkpoint or None, **given)
        else:
            encoder = transformers(rest, revision=revision, **given)
    if images is not None:
        encoder.max_pixels = images.max_pixels
    return encoder


def _check_options(
    name: str, is_random: bool, checkpoint: str, squash: bool, interpolate_positions: bool, revision: str | None
) -> None:
    """Raise ValueError for an option that the model of a name does not have."""
    library, _ = library_of(name)
    if checkpoint and (library != "timm" or is_random):
        raise ValueError(f"checkpoint {checkpoint}: {name} takes none; a timm:NAME.TAG model with stored weights does")
    if revision and library == "timm":
        raise ValueError(f"revision {revision}: {name} takes none")
    if not library and (squash or interpolate_positions):
        option = "squash" if squash else "interpolate_positions"
        raise ValueError(f"{option}: only a timm: or transformers: model takes it, and {name} is one of genlip")


def _limit(images: ImageConfig | None) -> dict[str, int]:
    """What `timm` and `transformers` are told about the images."""
    if images is None:
        return {}
    return {"size": images.size} if images.resize == "fixed" else {"max_patches": images.max_patches}


def _genlip(name: str, images: ImageConfig | None, revision: str | None, **placing: Any) -> Speaker:
    """A model of genlip with its weights."""
    check_genlip(name)
    speaker = Speaker.load(name, revision=revision, **placing)
    speaker.images = images or speaker.images
    return _checked(speaker)


def _random_genlip(
    name: str, images: ImageConfig | None, revision: str | None, device: torch.device | str, dtype: torch.dtype | None
) -> Speaker:
    """A model of genlip with new weights and without a tokenizer."""
    config, own = _sizes(name, revision)
    model: Any = placed(GenLIP(config), device, dtype).eval()
    speaker = Speaker(model, images or own)
    speaker.name = f"random:{name}"
    return _checked(speaker)


def _checked(speaker: Speaker) -> Speaker:
    """The same. Raises ValueError for a fixed size that the patch size does not divide."""
    size, side = speaker.images.size, speaker.patch_size
    if speaker.images.resize == "fixed" and size % side:
        raise ValueError(f"images.size {size} is no multiple of the patch size {side} of {speaker.name}")
    return speaker


def _sizes(name: str, revision: str | None) -> tuple[GenLIPConfig, ImageConfig]:
    """Config and image settings of a preset, of a folder or repository, or of the recipe that will write a folder."""
    if name in PRESETS:
        return GenLIPConfig.preset(name), ImageConfig()
    if not Path(name).is_dir() and (planned := _of_recipe(name)) is not None:
        return planned
    check_genlip(name)
    try:
        folder = checkpoint_folder(name, revision, weights=False)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; for random weights also a preset: {', '.join(PRESETS)}") from error
    return read_config(folder), load_preprocessing(folder)[0].images


def _of_recipe(folder: str) -> tuple[GenLIPConfig, ImageConfig] | None:
    """Config and image settings of the model that a recipe of the package writes into this folder; None without one."""
    likely = Path(folder).parent.name  # a recipe writes into a folder of its own name
    for run in map(load_recipe, sorted(recipe_names(), key=lambda name: name != likely)):
        if isinstance(run.model, GenLIPConfig) and Path(run.out) / "model" == Path(folder):
            return run.model, run.images
    return None
