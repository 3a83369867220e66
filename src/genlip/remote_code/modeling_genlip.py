"""GenLIP as Transformers models: an encoder of images, and the whole model, which also generates captions.

In: pixels from the image processor, and token ids with a placeholder for every patch. Out: features of every patch, or
logits of the next tokens.

Weights have the published names, so one file works in every library. A sequence is `[padding | patches | text | padding]`
with at most one image. Positions and masks follow from the image's grid and from each row's index among the rows that are
not padding. Only the cache is kept between steps of generation. Padding never changes the results of other rows.

Axes: b batch, p patches (padded), l sequence, h heads, d head dimension, D trunk width, E text width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils import TransformersKwargs
from transformers.utils.output_capturing import capture_outputs

from .configuration_genlip import GenLIPConfig

__all__ = ["GenLIPForConditionalGeneration", "GenLIPPreTrainedModel", "GenLIPVisionModel"]

# Keywords that Transformers passes from outer models to inner ones, even if these do not use them.
_PASSED_ON = {*TransformersKwargs.__annotations__, "use_cache", "return_dict", "cache", "past_key_values"}
# Transformers 5.24 renamed `past_key_values` to `cache`, in outputs too.
_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


def mrope_positions(rank: Tensor, grids: Tensor) -> Tensor:
    """Positions of rows on the axes (time, row, column): patches at (0, r, c), text at max(rows, columns) + k on all three.

    rank     Int[b l]  index of each row in its own sequence, patches first
    grids    Int[b 2]  rows and columns of the image; zeros where there is none
    returns  Int[3 b l]
    """
    rows, columns = grids.to(rank.device).unsqueeze(-1).unbind(1)
    is_patch, text = rank < rows * columns, rank - rows * columns + torch.maximum(rows, columns)
    row, column = rank // columns.clamp(min=1), rank % columns.clamp(min=1)
    axes = (text.masked_fill(is_patch, 0), torch.where(is_patch, row, text), torch.where(is_patch, column, text))
    return torch.stack(axes)


def rotary_tables(positions: Tensor, config: GenLIPConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines, Float32[b 1 l d], of Int[3 b l] positions: each channel rotates by the position on its axis."""
    half, rope = config.head_dim // 2, config.rope_parameters or {}
    time, row, column = rope["mrope_section"]
    if config.mrope_interleaved:
        axes = [0] * half
        axes[1 : 3 * row : 3] = [1] * len(axes[1 : 3 * row : 3])  # cut at d/2, as published L/16 needs
        axes[2 : 3 * column : 3] = [2] * len(axes[2 : 3 * column : 3])
    else:
        axes = [0] * time + [1] * row + [2] * column
    channel = torch.arange(half, dtype=torch.float32, device=positions.device)
    frequency = 1.0 / rope["rope_theta"] ** (2 * channel / config.head_dim)
    place = positions[torch.tensor(axes, device=positions.device)].permute(1, 2, 0)
    angle = (place.float() * frequency).repeat(1, 1, 2).unsqueeze(1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair of channels (j, j + d/2) of Float[b h l d]; in float32, since bfloat16 merges positions above 256."""
    first, second = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


def eager_attention(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None, scaling: float, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Plain attention of Float[b h l d], which also returns its weights; the mask is added to the scores."""
    scores = q @ k.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
    return (weights @ v).transpose(1, 2).contiguous(), weights


def check_names(keywords: dict[str, Any]) -> None:
    """Raises TypeError for a keyword that Transformers does not know: otherwise a misspelled one would be ignored."""
    if unknown := sorted(keywords.keys() - _PASSED_ON):
        raise TypeError(f"a GenLIP takes no argument {', '.join(unknown)}")


class GenLIPAttention(nn.Module):
    """Attention whose output is multiplied by sigmoid(gate). The gate is the second half of `q_proj`."""

    def __init__(self, config: GenLIPConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.config, self.layer_idx = config, layer
        self.scaling = config.head_dim**-0.5
        self.q_proj = nn.Linear(width, 2 * width if config.gated_attention else width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Any, rotary: tuple[Tensor, Tensor], cache: Cache | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Float[b l D] -> Float[b l D], and Float[b h l l] weights if the implementation returns them."""
        q, *gate = self.q_proj(x).split(x.shape[-1], dim=-1)
        heads = (*x.shape[:2], -1, self.config.head_dim)
        q, k, v = (part.view(heads).transpose(1, 2) for part in (q, self.k_proj(x), self.v_proj(x)))
        q, k = rotate(q, *rotary), rotate(k, *rotary)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        attend: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        read, weights = attend(self, q, k, v, mask, scaling=self.scaling, dropout=0.0, **kwargs)
        read = read.flatten(2)
        return self.out_proj(read * gate[0].sigmoid() if gate else read), weights


class GenLIPMLP(nn.Module):
    """fc2(act(gate_fc(x)) * fc1(x)), or the plain fc2(act(fc1(x)))."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.act = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.gate_fc = nn.Linear(config.hidden_size, config.intermediate_size) if config.use_swiglu_ffn else None
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Float[b l D] -> Float[b l D]"""
        if self.gate_fc is None:
            return self.fc2(self.act(self.fc1(x)))
        return self.fc2(self.act(self.gate_fc(x)) * self.fc1(x))


class GenLIPLayerScale(nn.Module):
    """A learned factor for each channel of a branch."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.full((config.hidden_size,), float(config.ls_init_value)))

    def forward(self, x: Tensor) -> Tensor:
        """Float[b l D] -> Float[b l D]"""
        return x * self.lambda1


class GenLIPLayer(GradientCheckpointingLayer):
    """x + scale1(attention(norm1(x))), then x + scale2(mlp(norm2(x))), both with DropPath in training."""

    def __init__(self, config: GenLIPConfig, layer: int) -> None:
        super().__init__()
        scaled = bool(config.ls_init_value)
        self.drop_path_rate = config.drop_path_rate
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = GenLIPAttention(config, layer)
        self.layer_scale1 = GenLIPLayerScale(config) if scaled else nn.Identity()
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = GenLIPMLP(config)
        self.layer_scale2 = GenLIPLayerScale(config) if scaled else nn.Identity()

    def forward(self, x: Tensor, mask: Any, rotary: tuple[Tensor, Tensor], **kwargs: Any) -> Tensor:
        """Float[b l D] -> Float[b l D]; keywords go to the attention."""
        branch, _ = self.self_attn(self.layer_norm1(x), mask, rotary, **kwargs)
        x = x + self._drop(self.layer_scale1(branch))
        return x + self._drop(self.layer_scale2(self.mlp(self.layer_norm2(x))))

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path_rate:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path_rate
        return branch * kept.to(branch.dtype) / (1 - self.drop_path_rate)


class GenLIPVisionEmbeddings(nn.Module):
    """The linear projection of patches."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Float[b C H W] images, or Float[b p C*P*P] patches -> Float[b p D]"""
        patch = self.patch_embedding
        pixel_values = pixel_values.to(patch.weight.dtype)
        if pixel_values.dim() == 4:
            return patch(pixel_values).flatten(2).transpose(1, 2)
        return F.linear(pixel_values, patch.weight.flatten(1), patch.bias)


class GenLIPEncoder(nn.Module):
    """The layers of the trunk."""

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(GenLIPLayer(config, layer) for layer in range(config.num_hidden_layers))

    def forward(self, x: Tensor, mask: Any, rotary: tuple[Tensor, Tensor], **kwargs: Any) -> Tensor:
        """Float[b l D] -> Float[b l D]"""
        for layer in self.layers:
            x = layer(x, mask, rotary, **kwargs)
        return x


class GenLIPPreTrainedModel(PreTrainedModel):
    """The shared part of both models: the trunk, its initialisation, and the features of Transformers that it supports."""

    config: GenLIPConfig
    config_class = GenLIPConfig
    base_model_prefix = "genlip"
    input_modalities: Any = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["GenLIPLayer"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": GenLIPLayer, "attentions": GenLIPAttention}  # noqa: RUF012

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__(config)
        self.vision_embeddings = GenLIPVisionEmbeddings(config)
        self.visual = GenLIPEncoder(config)
        self.ln_post = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Xavier-uniform in attention and feed-forward, N(0, 0.02) elsewhere, zero biases."""
        outer = [self._modules.get(name) for name in ("in_proj", "proj", "lm_head")]
        if isinstance(module, nn.Linear) and module not in outer:
            init.xavier_uniform_(module.weight)
        elif isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
        elif isinstance(module, GenLIPLayerScale):
            init.constant_(module.lambda1, float(self.config.ls_init_value))
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            init.zeros_(bias)

    def _grids(self, pixel_values: Tensor, mask: Tensor | None, spatial_shapes: Tensor | None) -> Tensor:
        """Int64[b 2], rows and columns of each image. Raises ValueError if they do not fit the pixels."""
        if pixel_values.dim() == 4:
            size, (height, width) = self.config.patch_size, pixel_values.shape[2:]
            if height % size or width % size:
                raise ValueError(f"images of {height}x{width} pixels: both sides must be multiples of patch_size {size}")
            return torch.tensor([height // size, width // size], device=pixel_values.device).expand(len(pixel_values), 2)
        if pixel_values.dim() != 3 or spatial_shapes is None:
            raise ValueError(
                f"pixel_values of shape {tuple(pixel_values.shape)}: need images [batch, channels, height, width], or "
                "patches [batch, patches, channels * patch * patch] together with spatial_shapes"
            )
        grids, (images, patches) = spatial_shapes.to(pixel_values.device), pixel_values.shape[:2]
        real = grids.new_full((images,), patches) if mask is None else mask.sum(dim=1).to(grids.device)
        if not torch.compiler.is_compiling() and not torch.equal(grids.prod(dim=1), real.to(grids.dtype)):
            raise ValueError(
                f"spatial_shapes hold {grids.prod(dim=1).tolist()} patches, but pixel_values have {real.tolist()} that are "
                "not padding: pass the pixel_attention_mask and spatial_shapes that belong to these pixel_values"
            )
        return grids


class GenLIPVisionModel(GenLIPPreTrainedModel):
    """The encoder: features of every patch, which are `ln_post` of the last layer, as in every measurement of the paper."""

    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _supports_flash_attn = True
    _keys_to_ignore_on_load_unexpected = [r"^embeddings\.", r"^lm_head\.", r"^in_proj\.", r"^proj\."]  # noqa: RUF012

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The projection of patches."""
        return self.vision_embeddings.patch_embedding

    @capture_outputs
    def forward(
        self,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Features of images.

        pixel_values          Float[b C H W] images of one size, or Float[b p C*P*P] patches of any grids, padded at the end
        pixel_attention_mask  Int[b p], 0 where a patch is padding; only with patches
        spatial_shapes        Int64[b 2], rows and columns of each image; only with patches

        Returns `last_hidden_state` Float[b p D] and `pooler_output` Float[b D], the mean over an image's patches. With
        `output_hidden_states`, the last of these is `last_hidden_state`.
        """
        check_names(kwargs)
        grids = self._grids(pixel_values, pixel_attention_mask, spatial_shapes)
        x = self.vision_embeddings(pixel_values)
        rank = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        rotary = rotary_tables(mrope_positions(rank, grids), self.config)
        mask = create_bidirectional_mask(self.config, x, pixel_attention_mask)
        features = self.ln_post(self.visual(x, mask, rotary, is_causal=False, **kwargs))
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=_mean(features, pixel_attention_mask))


def _mean(features: Tensor, mask: Tensor | None) -> Tensor:
    """Float[b D], the mean over the patches that are not padding, in float32: half precision rounds sums and counts."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    real = torch.ones_like(wide[..., :1]) if mask is None else mask.to(wide).unsqueeze(-1)
    return ((wide * real).sum(dim=1) / real.sum(dim=1)).to(features.dtype)


class GenLIPForConditionalGeneration(GenLIPPreTrainedModel, GenerationMixin):
    """The whole model: reads an image and predicts the text after it."""

    accepts_loss_kwargs = True  # the Trainer passes num_items_in_batch, and the loss is divided by it here
    _input_embed_layer = "embeddings"  # the token embedding, for get_input_embeddings and set_input_embeddings

    def __init__(self, config: GenLIPConfig) -> None:
        super().__init__(config)
        width, text_width = config.hidden_size, config.text_embed_dim or config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, text_width)
        self.in_proj = nn.Linear(text_width, width) if text_width != width else nn.Identity()
        self.proj = nn.Linear(width, text_width) if text_width != width else nn.Identity()
        self.lm_head = nn.Linear(text_width, config.vocab_size, bias=False)
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the next tokens, and the loss if there are labels.

        input_ids       Int64[b l], `config.image_token_id` once for every patch, then text; in later steps only new text
        pixel_values, pixel_attention_mask, spatial_shapes  as for `GenLIPVisionModel`; ignored if the cache has the image
        attention_mask  Int[b l], 0 at padding, before or after a sequence; with a cache, for all rows so far
        position_ids    Int64[b l], each row's index in its sequence without padding; computed from the mask if missing
        labels          Int64[b l], -100 for no loss; each label is predicted by the row before it
        num_items_in_batch  divisor of the summed loss; the number of labels if missing
        logits_to_keep  compute only this many logits, from the end; 0 for all
        """
        check_names(kwargs)
        cache = self._cache_of_call(past_key_values if cache is None else cache, use_cache)
        past = cache.get_seq_length() if cache is not None else 0
        rank = _ranks(input_ids, attention_mask, past) if position_ids is None else position_ids
        x, blocks = self.in_proj(self.embeddings(input_ids)), None
        if past:
            grids = getattr(cache, "grids", None) if spatial_shapes is None else spatial_shapes
        elif pixel_values is None:
            grids = None
        else:
            grids = self._grids(pixel_values, pixel_attention_mask, spatial_shapes)
            is_patch = rank < grids.prod(dim=1, keepdim=True)
            self._check_placeholders(input_ids, attention_mask, is_patch, grids.prod(dim=1))
            x = _insert(x, self.vision_embeddings(pixel_values), rank, is_patch)
            blocks = is_patch.long() - 1  # patches attend to their whole image; text (block -1) is causal
        if cache is not None:
            cache.grids = grids
        grids = rank.new_zeros(len(x), 2) if grids is None else grids.to(rank.device)
        mask = create_causal_mask(self.config, x, attention_mask, cache, block_sequence_ids=blocks)
        rotary = rotary_tables(mrope_positions(rank, grids), self.config)
        hidden = self.ln_post(self.visual(x, mask, rotary, cache=cache, **kwargs))
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits, loss = self.lm_head(self.proj(hidden[:, kept, :])), None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{_CACHE: cache})

    def _cache_of_call(self, cache: Cache | None, use_cache: bool | None) -> Any:
        """The cache of this call; none in training unless requested, and never with activation checkpointing."""
        recomputes = self.training and torch.is_grad_enabled() and self.visual.layers[0].gradient_checkpointing
        wanted = self.config.use_cache and not self.training if use_cache is None else use_cache
        if recomputes or (cache is None and not wanted):
            return None
        return DynamicCache(config=self.config) if cache is None else cache

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """`generate` of Transformers. Given only pixels, it generates after the last patch, without a prompt."""
        if inputs is None and kwargs.get("input_ids") is None and kwargs.get("pixel_values") is not None:
            grids = self._grids(kwargs["pixel_values"], kwargs.get("pixel_attention_mask"), kwargs.get("spatial_shapes"))
            counts = grids.prod(dim=1, keepdim=True)
            # Padded on the left; without an image_token_id, 0 is the placeholder.
            real = torch.arange(int(counts.max()), 0, -1, device=counts.device) <= counts
            kwargs["input_ids"] = real.long() * (self.config.image_token_id or 0)
            kwargs["attention_mask"] = real.long()
        return super().generate(inputs, *args, **kwargs)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *args: Any, is_first_iteration: bool = False, **kwargs: Any
    ) -> Any:
        """The inputs of one step, with pixels only if the cache does not hold the image."""
        inputs = super().prepare_inputs_for_generation(input_ids, *args, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get("use_cache", True):
            inputs.pop("pixel_values", None)
            inputs.pop("pixel_attention_mask", None)
        return inputs

    @staticmethod
    def create_masks_for_generate(*, attention_mask: Tensor | None, **kwargs: Any) -> Tensor | None:
        """Returns the mask unchanged: `forward` builds the attention mask, since it knows the patches."""
        return attention_mask

    def _check_placeholders(self, input_ids: Tensor, mask: Tensor | None, is_patch: Tensor, needed: Tensor) -> None:
        """Raises ValueError if a sequence does not begin with one placeholder for each patch of its image."""
        token = self.config.image_token_id
        if torch.compiler.is_compiling():
            return
        placeholders = is_patch if token is None else is_patch & (input_ids == token)
        if mask is not None and mask.dim() == 2:
            placeholders = placeholders & mask.bool()
        if not torch.equal(found := placeholders.sum(dim=1), needed.to(found.device)):
            raise ValueError(
                f"sequences begin with {found.tolist()} placeholders (image_token_id {token}), but their images have "
                f"{needed.tolist()} patches: let the processor make input_ids, or begin with a placeholder for each patch"
            )


def _ranks(input_ids: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
    """Int64[b l], each row's index among the rows of its sequence that are not padding."""
    length = input_ids.shape[1]
    if attention_mask is None:
        return torch.arange(past, past + length, device=input_ids.device).expand(input_ids.shape)
    return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, -length:]


def _insert(x: Tensor, patches: Tensor, rank: Tensor, is_patch: Tensor) -> Tensor:
    """Float[b l D] in which patches, Float[b p D], replace the rows of their placeholders."""
    place = rank.clamp(max=patches.shape[1] - 1).unsqueeze(-1).expand(-1, -1, x.shape[-1])
    return torch.where(is_patch.unsqueeze(-1), patches.gather(1, place), x)
