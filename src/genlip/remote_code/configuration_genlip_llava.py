"""The config of a multimodal LLM that the LLaVA classes of Transformers cannot express.

In: keyword arguments, or the keys of a `config.json`. Out: a config of Transformers. It differs from that of LLaVA in what
is read of the vision tower: features after the last LayerNorm, without class and register tokens, at a variable grid, of
square groups of patches, or of tiles.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.llava.configuration_llava import LlavaConfig

from .configuration_genlip import GenLIPConfig

__all__ = ["GenLIPLlavaConfig", "LlavaWithGenLIPConfig", "LlavaNextWithGenLIPConfig"]  # noqa: RUF022 - general first


@strict
class GenLIPLlavaConfig(LlavaConfig):
    """A vision tower, a projector and a causal language model.

    Attributes:
        vision_config: of the tower, any that `AutoModel` builds.
        vision_hidden_size: width of its features; 0 takes `vision_config.hidden_size`.
        vision_patch_size: side of a patch in pixels; 0 takes `vision_config.patch_size`.
        vision_image_size: side of a tile in pixels; 0 takes `vision_config.image_size`, if it has one.
        vision_prefix_tokens: class and register tokens before the patches in the tower's output.
        interpolate_positions: let the tower resample its learned positions to the size of the image.
        pixel_shuffle: side of the squares of patches that are joined into one token.
        image_grid_pinpoints: [height, width] in pixels of the grids of tiles; None reads an image once.
    """

    model_type = "genlip_llava"

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_hidden_size: int = 0
    vision_patch_size: int = 0
    vision_image_size: int = 0
    vision_prefix_tokens: int = 0
    interpolate_positions: bool = False
    pixel_shuffle: int = 1
    image_grid_pinpoints: list[list[int]] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Set derived fields."""
        if isinstance(self.vision_config, dict) and self.vision_config.get("model_type") == GenLIPConfig.model_type:
            # AutoConfig does not know a GenLIP where genlip is not installed.
            self.vision_config = GenLIPConfig.from_dict(self.vision_config)
        super().__post_init__(**kwargs)
        for name in ("hidden_size", "patch_size", "image_size"):
            if not getattr(self, f"vision_{name}"):
                setattr(self, f"vision_{name}", getattr(self.vision_config, name, 0))


@strict
class LlavaWithGenLIPConfig(GenLIPLlavaConfig):
    """That of a `llava` with a GenLIP as its tower, where Transformers' own class cannot read it: without genlip."""

    model_type = "llava"


@strict
class LlavaNextWithGenLIPConfig(GenLIPLlavaConfig):
    """The same for a `llava_next`."""

    model_type = "llava_next"
