"""GenLIP's encoder in timm: its `NaFlexVit` with gated attention and interleaved MRoPE, in both directions.

In: a `GenLIP`, or a file with published names. Out: a `NaFlexVit` whose `forward_features` is `GenLIP.encode`, or a folder
that timm opens without genlip. Importing this registers five names. The presets are `naflexvit_genlip_l16`,
`naflexvit_genlip_so16` and `naflexvit_genlip_g16`. The released files are `naflexvit_genlip_l16_published` and
`naflexvit_genlip_g16_published`. A name fixes all sizes, also heads and MRoPE sections, which the shapes of weights do not
show: the released g/16 has the widths of our preset but other heads. For any other checkpoint use `to_timm` or `save_timm`,
which read its config.

>>> import genlip.export.timm  # doctest: +SKIP
>>> timm.create_model("naflexvit_genlip_l16_published", checkpoint_path="model.safetensors")  # doctest: +SKIP

Loading accepts published names as well as timm's own, since `create_model` has no other hook to translate them.

timm supports the encoder, but not captions, chunked MRoPE, SwiGLU with an activation other than silu, or a LayerNorm epsilon
other than 1e-6; these are refused. A model created without weights is initialised as timm does it, not as genlip does.

DropPath (stochastic depth) differs in training; inference is the same. genlip uses one rate in every block. timm increases
the rate from 0 in the first block to `drop_path_rate` in the last, so it drops half as often on average. The registered
names have `drop_path_rate=0` by default, like timm's own models, since the rate belongs to a recipe. `to_timm` and a folder
keep the rate of the model's config; `create_model("local-dir:FOLDER", drop_path_rate=0.0)` overrides it.

An attentive probe: `to_timm(model, num_classes=N, global_pool="map")`. For a folder or a file, use
`create_model(…, global_pool="map", num_classes=N)`. Without a classifier (`num_classes=0`), a folder's pretrained weights
need `pretrained_strict=False`, since timm would also require the weights of the pool.

Axes: b images, C channels, H, W pixels, N patches of an image, D width of the trunk, P side of a patch.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genlip.data.images import ImageConfig
from genlip.data.preprocessing import load_preprocessing
from genlip.export.folders import replaced, source_and_target
from genlip.extras import require
from genlip.model.checkpoint import CheckpointError, load
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.weights import write_model

require("timm", extra="timm")

from timm.layers.mlp import GluMlp  # noqa: E402
from timm.layers.pos_embed_sincos import RotaryEmbeddingMRope  # noqa: E402
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402
from timm.models.naflexvit import NaFlexVit  # noqa: E402

__all__ = [
    "export_timm",
    "from_timm",
    "naflexvit_genlip_g16",
    "naflexvit_genlip_g16_published",
    "naflexvit_genlip_l16",
    "naflexvit_genlip_l16_published",
    "naflexvit_genlip_so16",
    "save_timm",
    "timm_arguments",
    "to_timm",
]

_SIZES = {
    "naflexvit_genlip_l16": GenLIPConfig.preset("l16"),
    "naflexvit_genlip_so16": GenLIPConfig.preset("so16"),
    "naflexvit_genlip_g16": GenLIPConfig.preset("g16"),
    "naflexvit_genlip_l16_published": GenLIPConfig.preset("l16", hidden_size=1152, intermediate_size=2752),
    "naflexvit_genlip_g16_published": GenLIPConfig.preset("g16", num_attention_heads=16, mrope_section=(16, 16, 16)),
}
_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
_EPSILON = 1e-6  # timm's LayerNorm; a folder's config.json cannot name another
# A name that timm itself registers. Our arguments replace all its settings, so only its class matters.
_ARCHITECTURE = "naflexvit_base_patch16_gap"

# The published tensor, timm's tensor, and the variant that has it ("" means all). A name in several lines has as many equal
# parts, in that order: q_proj holds queries and gate, qkv holds queries, keys and values.
_BLOCK = (
    ("layer_norm1", "norm1", ""),
    ("self_attn.q_proj", "attn.qkv", ""),
    ("self_attn.q_proj", "attn.gate", "gate"),
    ("self_attn.k_proj", "attn.qkv", ""),
    ("self_attn.v_proj", "attn.qkv", ""),
    ("self_attn.out_proj", "attn.proj", ""),
    ("layer_scale1.lambda1", "gamma_1", "scale"),
    ("layer_norm2", "norm2", ""),
    ("mlp.gate_fc", "mlp.fc1", "swiglu"),
    ("mlp.fc1", "mlp.fc1", ""),
    ("mlp.fc2", "mlp.fc2", ""),
    ("layer_scale2.lambda1", "gamma_2", "scale"),
)
_PATCH, _TIMM_PATCH = "vision_embeddings.patch_embedding.weight", "embeds.proj.weight"
_PUBLISHED = ("vision_embeddings.", "visual.", "ln_post.")
_TEXT = ("embeddings.", "in_proj.", "proj.", "lm_head.")  # published names that are not part of the encoder
_CLASSIFIER = ("head.", "attn_pool.")  # timm's names that are not part of a GenLIP


def timm_arguments(config: GenLIPConfig) -> dict[str, Any]:
    """The arguments of timm's `NaFlexVit` that build a config's encoder, as values that JSON supports.

    `forward` averages the features over the patches (`global_pool`). timm spreads `drop_path_rate` over the blocks. Raises
    ValueError for a config that timm does not support.
    """
    _check_expressible(config)
    return {
        "in_chans": config.num_channels,
        "patch_size": config.patch_size,
        "embed_proj_type": "linear",
        "embed_dim": config.hidden_size,
        "depth": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "attn_gated": config.gated_attention,
        "mlp_ratio": _mlp_ratio(config.hidden_size, config.intermediate_size),
        "swiglu_mlp": config.use_swiglu_ffn,
        "act_layer": _ACTIVATIONS[config.hidden_act],
        "init_values": config.ls_init_value or None,
        "drop_path_rate": config.drop_path_rate,
        "class_token": False,
        "reg_tokens": 0,
        "pos_embed": "none",
        "rope_type": "mrope",
        "rope_temperature": config.rope_theta,
        "rope_mrope_section": config.mrope_section,
        "global_pool": "avg",
        "fc_norm": False,  # ln_post comes before pooling
    }


def to_timm(
    model: GenLIP, *, images: ImageConfig | None = None, num_classes: int = 0, global_pool: str = "avg"
) -> NaFlexVit:
    """The encoder as timm's model, with the weights, dtype, device and mode of `model`.

    images       how images were resized in training, as for `save_timm`; `None` for 224x224 pixels
    num_classes  above 0 adds a linear classifier of random weights
    global_pool  "avg", "max" or "avgmax" over the patches, "" for every patch, "map" for an attentive pool of random
                 weights, to be learned as in the paper's attentive probe

    The input is Float[b C H W] in [-1, 1]. For images of different sizes, padded to N patches, it is the output of timm's
    NaFlex loader: patches Float[b N P*P*C] (channels last), patch_coord Int[b N 2] (row, column), patch_valid Bool[b N].
    `forward` takes these as a dictionary, `forward_features` as keywords. Features are Float[b N D]; for NaFlex inputs they
    are in a dictionary under `patches`, and rows at padding have no meaning. Raises ValueError for a config that timm does
    not support.
    """
    weight = model.ln_post.weight
    encoder = _create(
        _ARCHITECTURE,
        model.config,
        pretrained_cfg=_pretrained_cfg(model.config, images or ImageConfig()),
        num_classes=num_classes,
        global_pool=global_pool,
        device=weight.device,
        dtype=weight.dtype,
    )
    encoder.load_state_dict(model.state_dict())
    return encoder.train(model.training)


def from_timm(encoder: NaFlexVit) -> dict[str, Tensor]:
    """A copy of the weights of an encoder under published names, without those of a classifier.

    `GenLIP.load_state_dict` takes them with `strict=False` and keeps its text parts. Raises ValueError if the model is not
    the encoder of a GenLIP.
    """
    return _published_names(_trunk(encoder), encoder)


def save_timm(model: GenLIP, folder: str | os.PathLike[str], images: ImageConfig | None = None) -> Path:
    """Write `config.json` and `model.safetensors` in timm's layout on the Hub. Each file is written atomically.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` opens it, and `hf-hub:owner/name` after an upload, both without
    genlip. The folder has no weights for `global_pool="map"`: give `num_classes` or `pretrained_strict=False` with it.

    images  how images were resized in training, for `timm.data.resolve_model_data_config`; `None` for 224x224 pixels.
            Native resolution becomes the largest square within `max_patches`; timm's NaFlex transforms keep aspect ratios.

    Raises ValueError for a config that timm does not support, and if a fixed size is not a multiple of the patch size.
    """
    settings, weights = _content(model, images or ImageConfig())
    write_model(Path(folder), weights, settings)
    return Path(folder)


def export_timm(model: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """`save_timm` for a model's folder or Hub repository, with the image settings of its training.

    Files of an older export in `out` are removed, see `genlip.export.folders.replaced`.
    """
    source, target = source_and_target(model, out)
    settings, weights = _content(load(source), load_preprocessing(source)[0].images)
    with replaced(target) as workplace:
        write_model(workplace, weights, settings)
    return target


def _content(model: GenLIP, images: ImageConfig) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings, and the weights under timm's names, that `save_timm` writes. Raises the same errors."""
    if images.resize == "fixed" and images.size % model.config.patch_size:
        raise ValueError(f"images.size {images.size} is not a multiple of the model's patch_size {model.config.patch_size}")
    arguments = timm_arguments(model.config)
    trunk = {name: value.detach().cpu() for name, value in model.state_dict().items() if not name.startswith(_TEXT)}
    settings = {
        "architecture": _ARCHITECTURE,
        "num_classes": 0,
        "num_features": model.config.hidden_size,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": _pretrained_cfg(model.config, images),
    }
    return settings, _timm_names(trunk, _config_pairs(model.config))


def _create(variant: str, config: GenLIPConfig, pretrained: bool = False, **arguments: Any) -> NaFlexVit:
    """timm's builder, which handles `features_only`, `pretrained_cfg` and others, and refuses unknown arguments."""
    return build_model_with_cfg(
        _encoder,
        variant,
        pretrained,
        feature_cfg={"out_indices": arguments.pop("out_indices", 3), "feature_cls": "getter"},
        **{**timm_arguments(config), **arguments},
    )


def _encoder(**arguments: Any) -> NaFlexVit:
    encoder = NaFlexVit(**arguments)
    encoder.register_load_state_dict_pre_hook(_before_loading)  # type: ignore[no-untyped-call]
    return encoder


def _pretrained_cfg(config: GenLIPConfig, images: ImageConfig) -> dict[str, Any]:
    """How images are prepared, in timm's settings: resized to a square, as genlip does at a fixed resolution."""
    side = images.size if images.resize == "fixed" else config.patch_size * math.isqrt(images.max_patches)
    return {
        "num_classes": 0,
        "input_size": (config.num_channels, side, side),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": (0.5,) * config.num_channels,
        "std": (0.5,) * config.num_channels,
        "pool_size": None,
        "first_conv": "embeds.proj",
        "classifier": "head",
    }


default_cfgs = generate_default_cfgs({name: _pretrained_cfg(config, ImageConfig()) for name, config in _SIZES.items()})


def _named(name: str, pretrained: bool, *, drop_path_rate: float = 0.0, **arguments: Any) -> NaFlexVit:
    """A registered name's model, without the preset's DropPath."""
    return _create(name, _SIZES[name], pretrained, drop_path_rate=drop_path_rate, **arguments)


@register_model
def naflexvit_genlip_l16(pretrained: bool = False, **arguments: Any) -> NaFlexVit:
    """L/16 of the paper: 24 blocks of width 1024."""
    return _named("naflexvit_genlip_l16", pretrained, **arguments)


@register_model
def naflexvit_genlip_so16(pretrained: bool = False, **arguments: Any) -> NaFlexVit:
    """So/16 of the paper: 27 blocks of width 1152."""
    return _named("naflexvit_genlip_so16", pretrained, **arguments)


@register_model
def naflexvit_genlip_g16(pretrained: bool = False, **arguments: Any) -> NaFlexVit:
    """g/16 of the paper: 40 blocks of width 1536, with 24 heads."""
    return _named("naflexvit_genlip_g16", pretrained, **arguments)


@register_model
def naflexvit_genlip_l16_published(pretrained: bool = False, **arguments: Any) -> NaFlexVit:
    """L/16 as it was released: 24 blocks of width 1152, with 16 heads of dimension 72."""
    return _named("naflexvit_genlip_l16_published", pretrained, **arguments)


@register_model
def naflexvit_genlip_g16_published(pretrained: bool = False, **arguments: Any) -> NaFlexVit:
    """g/16 as it was released: 40 blocks of width 1536, with 16 heads of dimension 96."""
    return _named("naflexvit_genlip_g16_published", pretrained, **arguments)


def _check_expressible(config: GenLIPConfig) -> None:
    if not config.mrope_interleaved:
        raise ValueError(
            "mrope_interleaved is false: timm supports only interleaved MRoPE, so chunked sections cannot be exported"
        )
    if config.use_swiglu_ffn and config.hidden_act != "silu":
        raise ValueError(f"hidden_act {config.hidden_act!r} with use_swiglu_ffn: timm's SwiGLU supports only silu")
    if config.layer_norm_eps != _EPSILON:
        raise ValueError(f"layer_norm_eps is {config.layer_norm_eps}: timm's LayerNorm supports only {_EPSILON}")


def _mlp_ratio(width: int, hidden: int) -> float:
    """The factor for which timm's int(width * factor) is exactly `hidden`."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)  # the quotient may be rounded down


def _before_loading(encoder: NaFlexVit, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Turn published names into timm's, in place. If a file has no classifier, the model keeps its own.

    Published weights must be complete, even if timm loads without `strict` because of the classifier.
    """
    found = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
    if any(name.startswith(_PUBLISHED) for name in found):
        found = {name: value for name, value in found.items() if not name.startswith(_TEXT)}
        _check_fit(found, encoder)
        found = _timm_names(found, _model_pairs(encoder))
        for name in [name for name in state_dict if name.startswith(prefix)]:
            del state_dict[name]
    if not any(name.startswith(_CLASSIFIER) for name in found):
        found |= {name: value for name, value in encoder.state_dict().items() if name.startswith(_CLASSIFIER)}
    state_dict.update({prefix + name: value for name, value in found.items()})


def _check_fit(found: Mapping[str, Tensor], encoder: NaFlexVit) -> None:
    """Raises `CheckpointError` with every published parameter that is missing, unknown, or of another shape."""
    shapes = _published_names({name: value.to("meta") for name, value in _trunk(encoder).items()}, encoder)
    faults = [f"{name}: missing, needs {list(needed.shape)}" for name, needed in shapes.items() if name not in found]
    faults += [
        f"{name}: not a parameter of this model, has {list(value.shape)}"
        for name, value in found.items()
        if name not in shapes
    ]
    faults += [
        f"{name}: has {list(found[name].shape)}, needs {list(needed.shape)}"
        for name, needed in shapes.items()
        if name in found and found[name].shape != needed.shape
    ]
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" if len(faults) > 20 else "")
        raise CheckpointError(
            f"these are not the weights of a GenLIP of {len(encoder.blocks)} blocks of width {encoder.embed_dim}; "
            f"create the model with the sizes of the checkpoint's config.json:\n  {shown}"
        )


def _trunk(encoder: NaFlexVit) -> dict[str, Tensor]:
    """The weights of a timm model without its classifier. Raises ValueError if they are not those of a GenLIP encoder."""
    if not isinstance(encoder.rope, RotaryEmbeddingMRope):
        raise ValueError(f"the position embedding is {type(encoder.rope).__name__}: a GenLIP needs rope_type='mrope'")
    if not encoder.embeds.is_linear or not encoder.embeds.channels_last:
        raise ValueError("patches must be read by embed_proj_type='linear' with patchify_channels_last=True")
    weights = {name: value for name, value in encoder.state_dict().items() if not name.startswith(_CLASSIFIER)}
    needed = {name for _, name in _model_pairs(encoder)}
    if wrong := [*(f"no {name}" for name in sorted(needed - weights.keys())), *sorted(weights.keys() - needed)]:
        raise ValueError(f"not the encoder of a GenLIP, as timm_arguments(config) would build it: it has {', '.join(wrong)}")
    return weights


def _config_pairs(config: GenLIPConfig) -> list[tuple[str, str]]:
    has = {"gate": config.gated_attention, "swiglu": config.use_swiglu_ffn, "scale": config.ls_init_value > 0}
    return list(_pairs(config.num_hidden_layers, has))


def _model_pairs(encoder: NaFlexVit) -> list[tuple[str, str]]:
    block: Any = encoder.blocks[0]
    has = {
        "gate": block.attn.gate is not None,
        "swiglu": isinstance(block.mlp, GluMlp),
        "scale": block.gamma_1 is not None,
    }
    return list(_pairs(len(encoder.blocks), has))


def _pairs(depth: int, has: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Published name and timm's name of every tensor of the trunk, or of a part of one, see `_BLOCK`."""
    modules = [("vision_embeddings.patch_embedding", "embeds.proj"), ("ln_post", "norm")]
    for layer in range(depth):
        for published, timm, needs in _BLOCK:
            if needs and not has[needs]:
                continue
            pair = (f"visual.layers.{layer}.{published}", f"blocks.{layer}.{timm}")
            if needs == "scale":  # a parameter, not a module with weight and bias
                yield pair
            else:
                modules.append(pair)
    for published, timm in modules:
        for parameter in ("weight", "bias"):
            yield f"{published}.{parameter}", f"{timm}.{parameter}"


def _timm_names(published: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    weights = _restack(published, pairs)
    weights[_TIMM_PATCH] = weights[_TIMM_PATCH].permute(0, 2, 3, 1).flatten(1)  # [D C P P] -> [D P*P*C]
    return weights


def _published_names(weights: Mapping[str, Tensor], encoder: NaFlexVit) -> dict[str, Tensor]:
    published = _restack(weights, [(timm, name) for name, timm in _model_pairs(encoder)])
    patch = published[_PATCH].unflatten(1, (*encoder.embeds.patch_size, -1))
    published[_PATCH] = patch.permute(0, 3, 1, 2).contiguous()  # [D P*P*C] -> [D C P P]
    return published


def _restack(weights: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Copies of the tensors under their second names. A name in several pairs is cut into equal parts, or stacked."""
    cuts = Counter(name for name, _ in pairs)
    parts = {name: iter(weights[name].chunk(count)) for name, count in cuts.items()}
    stacks: dict[str, list[Tensor]] = defaultdict(list)
    for name, new in pairs:
        stacks[new].append(next(parts[name]))
    return {new: torch.cat(stack) for new, stack in stacks.items()}
