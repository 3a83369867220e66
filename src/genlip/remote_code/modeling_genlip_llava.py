"""A multimodal LLM for what the LLaVA classes of Transformers cannot express, built on them.

In: token ids with a placeholder for every visual token, and pixels from the image processor. Out: logits of the next tokens.

Each visual token is the projection of one patch, or of a square of patches (pixel shuffle). Patches are the tower's last
layer after its last LayerNorm, without class and register tokens. Images have one size, or each its own grid, or they are
read in tiles as in LLaVA-NeXT. Names of the weights are those of `LlavaForConditionalGeneration`.

Axes: n images, p patches (padded), t tiles of an image (padded), D tower width, H width of the language model, s side of a
square of patches.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration, LlavaModel
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from .configuration_genlip import GenLIPConfig
from .configuration_genlip_llava import GenLIPLlavaConfig, LlavaNextWithGenLIPConfig, LlavaWithGenLIPConfig
from .modeling_genlip import GenLIPVisionModel

__all__ = [
    "GenLIPLlavaForConditionalGeneration",
    "GenLIPLlavaModel",
    "LlavaNextWithGenLIP",
    "LlavaWithGenLIP",
    "join_patches",
]

_IMAGE_INPUTS = ("pixel_values", "pixel_attention_mask", "spatial_shapes", "image_sizes")


def join_patches(features: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Features of squares of patches, row-major (pixel shuffle).

    features  Float[rows*columns D], row-major
    side      s, of a square in patches. A grid that it does not divide is padded with zeros at the bottom and on the right.
    returns   Float[ceil(rows/s)*ceil(columns/s) s*s*D]; inside a square the patches are row-major too
    """
    if side == 1:
        return features
    rows, columns = grid
    plane = F.pad(features.view(rows, columns, -1), (0, 0, 0, -columns % side, 0, -rows % side))
    squares = plane.unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2)
    return squares.flatten(2).flatten(0, 1)


def _tower_of(config: Any) -> Any:
    """The vision tower; AutoModel does not know a GenLIP where genlip is not installed."""
    is_genlip = config.model_type == GenLIPConfig.model_type
    return GenLIPVisionModel._from_config(config) if is_genlip else AutoModel.from_config(config)


class GenLIPLlavaProjector(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, config: GenLIPLlavaConfig) -> None:
        super().__init__()
        width, bias = config.text_config.hidden_size, config.multimodal_projector_bias
        self.linear_1 = nn.Linear(config.vision_hidden_size * config.pixel_shuffle**2, width, bias=bias)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Float[.. s*s*D] -> Float[.. H]"""
        return self.linear_2(self.act(self.linear_1(x)))


class GenLIPLlavaModel(LlavaModel):
    """The vision tower, the projector and the language model without its head."""

    config: GenLIPLlavaConfig
    config_class = GenLIPLlavaConfig

    def __init__(self, config: GenLIPLlavaConfig) -> None:
        super(LlavaModel, self).__init__(config)  # not LlavaModel's own, whose projector is that of single patches
        self.vision_tower = _tower_of(config.vision_config)
        self.multi_modal_projector = GenLIPLlavaProjector(config)
        if config.image_grid_pinpoints:
            self.image_newline = nn.Parameter(torch.zeros(config.text_config.hidden_size))
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_image_features(
        self,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        image_sizes: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Visual tokens of images: `pooler_output` holds a Float[tokens H] for each.

        pixel_values          Float[n C height width] images of one size, Float[n t C height width] tiles padded at the end,
                              or Float[n p C*P*P] patches of any grids, padded at the end
        pixel_attention_mask  Int[n p], 0 where a patch is padding; only with patches
        spatial_shapes        Int64[n 2], rows and columns of each image; only with patches
        image_sizes           Int64[n 2], height and width of each image; only with tiles
        """
        if pixel_values.dim() == 5:
            found = self._tile_tokens(pixel_values, image_sizes)
        else:
            patches, grids = self._patches(pixel_values, pixel_attention_mask, spatial_shapes)
            side = self.config.pixel_shuffle
            joined = [join_patches(x, grid, side) for x, grid in zip(patches, grids, strict=True)]
            found = list(self.multi_modal_projector(torch.cat(joined)).split([len(x) for x in joined]))
        return BaseModelOutputWithPooling(pooler_output=found)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        image_sizes: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Hidden states of the language model. Visual tokens replace the embeddings of their placeholders."""
        if pixel_values is None:
            return super().forward(input_ids=input_ids, inputs_embeds=inputs_embeds, **kwargs)
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        images = self.get_image_features(pixel_values, pixel_attention_mask, spatial_shapes, image_sizes).pooler_output
        tokens = torch.cat(images).to(embeds.device, embeds.dtype)
        places = self.get_placeholder_mask(input_ids, inputs_embeds=embeds, image_features=tokens)
        return super().forward(inputs_embeds=embeds.masked_scatter(places, tokens), **kwargs)

    def _patches(
        self, pixels: Tensor, mask: Tensor | None, shapes: Tensor | None
    ) -> tuple[list[Tensor], list[tuple[int, int]]]:
        """For each image its Float[patches D], and its grid."""
        if shapes is None:
            patch = self.config.vision_patch_size
            grid = (pixels.shape[-2] // patch, pixels.shape[-1] // patch)
            return list(self._tower(pixels)), [grid] * len(pixels)
        grids = [(int(rows), int(columns)) for rows, columns in shapes.tolist()]
        if hasattr(self.vision_tower, "timm_model"):  # it takes images of one grid
            return self._one_grid_at_a_time(pixels, grids), grids
        features = self._tower(pixels, pixel_attention_mask=mask, spatial_shapes=shapes)
        return [x[: rows * columns] for x, (rows, columns) in zip(features, grids, strict=True)], grids

    def _one_grid_at_a_time(self, pixels: Tensor, grids: list[tuple[int, int]]) -> list[Tensor]:
        """Float[n p C*P*P] -> for each image its Float[patches D]; images of the same grid go through the tower together."""
        patch, found = self.config.vision_patch_size, dict[int, Tensor]()
        for grid in dict.fromkeys(grids):
            places = [place for place, other in enumerate(grids) if other == grid]
            rows = pixels[places, : grid[0] * grid[1]].transpose(1, 2)
            images = F.fold(rows, (grid[0] * patch, grid[1] * patch), patch, stride=patch)
            found |= dict(zip(places, self._tower(images), strict=True))
        return [found[place] for place in range(len(grids))]

    def _tower(self, pixels: Tensor, **native: Tensor | None) -> Tensor:
        """The tower's features of patches, Float[n p D]."""
        if self.config.interpolate_positions:
            native["interpolate_pos_encoding"] = True  # type: ignore[assignment]
        features = self.vision_tower(pixel_values=pixels.to(self.vision_tower.dtype), **native).last_hidden_state
        return features[:, self.config.vision_prefix_tokens :]

    def _tile_tokens(self, pixels: Tensor, sizes: Tensor | None) -> list[Tensor]:
        """Float[n t C height width] -> for each image its Float[tokens H]: the whole image, then its tiles by rows."""
        if sizes is None:
            raise ValueError("pixel_values of tiles need image_sizes, the height and width of each image")
        config = self.config
        counts = [image_size_to_num_patches(x, config.image_grid_pinpoints, config.vision_image_size) for x in sizes]
        tiles = torch.cat([x[:count] for x, count in zip(pixels, counts, strict=True)])
        tokens = self.multi_modal_projector(self._tower(tiles)).split(counts)
        return [self._joined(x, size) for x, size in zip(tokens, sizes, strict=True)]

    def _joined(self, tokens: Tensor, size: Tensor) -> Tensor:
        """Float[t p H] -> Float[tokens H]: the rows of all tiles without padding, each with a newline at its end."""
        config, side = self.config, self.config.vision_image_size // self.config.vision_patch_size
        grid = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, config.vision_image_size)
        plane = tokens[1:].view(*grid, side, side, -1).permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2, 3)
        plane = unpad_image(plane, size)
        ends = self.image_newline.to(plane.dtype)[:, None, None].expand(-1, plane.shape[1], 1)
        return torch.cat([tokens[0], torch.cat([plane, ends], dim=2).flatten(1).T])


class GenLIPLlavaForConditionalGeneration(LlavaForConditionalGeneration):
    """The whole model: reads images and texts and predicts the text after them."""

    config: GenLIPLlavaConfig
    config_class = GenLIPLlavaConfig

    def __init__(self, config: GenLIPLlavaConfig) -> None:
        super(LlavaForConditionalGeneration, self).__init__(config)  # not that of LLaVA, which builds its own model
        self.model = GenLIPLlavaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """As `GenLIPLlavaModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """Logits of the next tokens, and the loss if there are `labels`; pixels as for `get_image_features`."""
        return super().forward(
            input_ids=input_ids,
            pixel_values=pixel_values,
            pixel_attention_mask=pixel_attention_mask,
            spatial_shapes=spatial_shapes,
            image_sizes=image_sizes,
            attention_mask=attention_mask,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )

    def prepare_inputs_for_generation(self, input_ids: Tensor, is_first_iteration: bool = False, **kwargs: Any) -> Any:
        """The inputs of one step, with pixels only if the cache does not hold the images."""
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        for name in _IMAGE_INPUTS:
            inputs.pop(name, None)
            if is_first_iteration or not kwargs.get("use_cache", True):
                inputs[name] = kwargs.get(name)
        return inputs


class LlavaWithGenLIP(GenLIPLlavaForConditionalGeneration):
    """A `llava` whose tower is a GenLIP, for machines without genlip."""

    config: LlavaWithGenLIPConfig
    config_class = LlavaWithGenLIPConfig


class LlavaNextWithGenLIP(GenLIPLlavaForConditionalGeneration):
    """A `llava_next` whose tower is a GenLIP, for machines without genlip."""

    config: LlavaNextWithGenLIPConfig
    config_class = LlavaNextWithGenLIPConfig
