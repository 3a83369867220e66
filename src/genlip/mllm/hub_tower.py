"""Hub tower: what a LLaVA folder says of a vision encoder, so that Transformers computes the same features.

In: an encoder, whose weights may be on the meta device. Out: the config and the image processor of Transformers, and how
patches are found in the output of the tower. Features are those of `Encoder.encode`: of the last layer, after its LayerNorm,
without class and register tokens.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from genlip.data.images import ImageConfig
from genlip.encoder import Encoder
from genlip.encoders import TimmEncoder, TransformersEncoder
from genlip.encoders.transformers_encoder import MODEL_TYPES
from genlip.extras import require
from genlip.speaker import Speaker

__all__ = ["HubTower", "hub_tower"]

_GENLIP_FILES = ("configuration_genlip", "modeling_genlip", "image_processing_genlip")
# Parameters of the models of Transformers and timm on which features of patches do not depend.
_UNUSED = ("head.", "attn_pool.", "fc_norm.", "embeddings.mask_token")


@dataclass(frozen=True)
class HubTower:
    """A vision encoder in terms of Transformers.

    Attributes:
        config: of the tower; `AutoModel.from_config` builds it.
        image_processor: gives the pixels of the encoder's `prepare`.
        width: D of the features.
        patch_size: side of a patch in pixels.
        size: side of the images in pixels; None where each keeps its aspect ratio.
        normalization: "image_mean", "image_std" and what else turns bytes into the numbers that the tower reads.
        prefix_tokens: class and register tokens before the patches in the tower's output.
        interpolate: the tower must be told to resample its learned positions.
        llava: with which `vision_feature_select_strategy` the LLaVA classes of Transformers read these very features; None
            if they read others.
        inside: what precedes the names of the encoder's parameters in the tower.
        unused: beginnings of names of parameters on which the features do not depend.
        code: files of genlip.remote_code that the tower and its image processor need.
        auto_image_processor: class of the image processor in these files; empty for one of Transformers.
    """

    config: Any
    image_processor: Any
    width: int
    patch_size: int
    size: int | None
    normalization: Mapping[str, Any]
    prefix_tokens: int = 0
    interpolate: bool = False
    llava: Literal["full", "default"] | None = None
    inside: str = ""
    unused: tuple[str, ...] = _UNUSED
    code: tuple[str, ...] = ()
    auto_image_processor: str = ""


def hub_tower(encoder: Encoder, images: ImageConfig) -> HubTower:
    """The tower of an encoder; `images` says how a GenLIP reads images. Raises ValueError for an unknown encoder."""
    require("transformers", "mllm")
    if isinstance(encoder, Speaker):
        return _genlip(encoder, images)
    if isinstance(encoder, TransformersEncoder):
        return _transformers(encoder)
    if isinstance(encoder, TimmEncoder):
        return _timm(encoder)
    raise ValueError(
        f"{encoder.name} is a {type(encoder).__name__}: a folder needs an encoder of genlip, Transformers or timm"
    )


def _genlip(encoder: Speaker, images: ImageConfig) -> HubTower:
    from genlip.remote_code.settings import hub_config, image_processor

    config, fixed = encoder.model.config, images.resize == "fixed"
    if config.num_channels != 3:
        raise ValueError(f"{encoder.name} reads images of {config.num_channels} channel: a folder needs one that reads RGB")
    processor = image_processor(images, config)
    return HubTower(
        hub_config(config, **({"image_size": images.size} if fixed else {})),
        processor,
        width=config.hidden_size,
        patch_size=config.patch_size,
        size=images.size if fixed else None,
        normalization={"image_mean": processor.image_mean, "image_std": processor.image_std},
        llava="full" if fixed else None,
        unused=("embeddings.", "in_proj.", "proj.", "lm_head."),
        code=_GENLIP_FILES,
        auto_image_processor="image_processing_genlip.GenLIPImageProcessor",
    )


def _transformers(encoder: TransformersEncoder) -> HubTower:
    model: Any = encoder.model
    config = copy.deepcopy(model.config)
    kind = MODEL_TYPES[config.model_type]
    if kind.model.startswith("Siglip"):
        config.vision_use_head = False  # pooling: no feature of a patch depends on it
    prefix = kind.tokens + int(getattr(config, "num_register_tokens", 0) or 0)
    processor = copy.deepcopy(encoder.image_processor)
    interpolate = kind.model in ("SiglipVisionModel", "CLIPVisionModel") and encoder.size != encoder.learned_size
    # Where there is a last LayerNorm, hidden_states[-1] is before it, and the LLaVA classes read that.
    crops = bool(getattr(processor, "do_center_crop", False))
    exact = not kind.norm and prefix == 1 and not interpolate and crops
    return HubTower(
        config,
        processor,
        width=encoder.width,
        patch_size=encoder.patch_size,
        size=encoder.size,
        normalization=_normalization(processor),
        prefix_tokens=prefix,
        interpolate=interpolate,
        llava="default" if exact else None,
        unused=_UNUSED if kind.norm else (*_UNUSED, "post_layernorm."),
    )


def _normalization(processor: Any) -> dict[str, Any]:
    """The settings of an image processor that turn bytes into numbers."""
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    return {name: getattr(processor, name) for name in names if getattr(processor, name, None) is not None}


def _timm(encoder: TimmEncoder) -> HubTower:
    library: Any = require("transformers", "mllm")
    model: Any = encoder.model
    name, arguments = _created(encoder)
    config = library.TimmWrapperConfig(architecture=name, model_args=arguments, do_pooling=False)
    from genlip.remote_code.image_processing_genlip_timm import GenLIPTimmImageProcessor

    transform = encoder.preprocessing()
    return HubTower(
        config,
        GenLIPTimmImageProcessor(transform, encoder.patch_size),
        width=encoder.width,
        patch_size=encoder.patch_size,
        size=encoder.size,
        normalization={"image_mean": transform["mean"], "image_std": transform["std"]},
        prefix_tokens=model.num_prefix_tokens,
        inside="timm_model.",
        code=("image_processing_genlip", "image_processing_genlip_timm"),
        auto_image_processor="image_processing_genlip_timm.GenLIPTimmImageProcessor",
    )


def _created(encoder: TimmEncoder) -> tuple[str, dict[str, Any]]:
    """Name and arguments with which `timm.create_model` makes this model again, besides num_classes=0.

    Raises ValueError where they are not known.
    """
    library: Any = require("timm", "timm")
    known: Any = getattr(encoder.model, "pretrained_cfg", None)
    fallback = (known or {}).get("architecture", "") if isinstance(known, Mapping) else ""
    name, arguments = encoder.created_as or (fallback, {"dynamic_img_size": True})
    try:
        arguments = json.loads(json.dumps(dict(arguments)))
        with torch.device("meta"):
            again = copy.copy(encoder)
            again.model = library.create_model(name, num_classes=0, **arguments)
        same = again.architecture() == encoder.architecture()
    except (TypeError, RuntimeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"{encoder.name}: timm.create_model({name!r}, **{arguments}) makes another model: load it by "
            "genlip.encoders.timm, or give TimmEncoder(..., created_as=(NAME, ARGUMENTS))"
        )
    return name, dict(arguments)
