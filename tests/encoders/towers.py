"""What tests of encoders share: images of several shapes, and small random towers, in memory or saved to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from PIL import Image

from ..data.helpers import noise

SIZES = [(64, 64), (40, 90), (120, 33), (20, 21), (300, 200)]
IMAGES = [Image.fromarray(noise(*size, seed=seed)) for seed, size in enumerate(SIZES)]

_SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_WIDE = {**_SMALL, "intermediate_size": 48}
_CROP: dict[str, Any] = {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}


def random_timm(name: str = "vit_base_patch16_siglip_224", **arguments: Any) -> torch.nn.Module:
    """A timm model of width 32 with two blocks, without a classifier."""
    torch.manual_seed(0)
    small = {"embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 0}
    return timm.create_model(name, **{**small, **arguments}).eval()


def random_tower(model_type: str) -> tuple[Any, Any]:
    """A model of Transformers and its image processor; images have 16 patches or at most 20."""
    torch.manual_seed(0)
    square = {"height": 64, "width": 64}
    made = {
        "siglip": lambda: (
            transformers.SiglipVisionModel(transformers.SiglipVisionConfig(image_size=64, patch_size=16, **_WIDE)),
            transformers.SiglipImageProcessor(size=square),
        ),
        "siglip2": lambda: (
            transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(num_patches=16, patch_size=16, **_WIDE)),
            transformers.Siglip2ImageProcessor(patch_size=16, max_num_patches=20),
        ),
        "clip": lambda: (
            transformers.CLIPVisionModel(transformers.CLIPVisionConfig(image_size=64, patch_size=16, **_WIDE)),
            transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=square),
        ),
        "dinov2": lambda: (
            transformers.Dinov2Model(transformers.Dinov2Config(image_size=56, patch_size=14, **_SMALL)),
            transformers.BitImageProcessor(**_CROP),
        ),
        "dinov2_with_registers": lambda: (
            transformers.Dinov2WithRegistersModel(
                transformers.Dinov2WithRegistersConfig(image_size=56, patch_size=14, num_register_tokens=3, **_SMALL)
            ),
            transformers.BitImageProcessor(**_CROP),
        ),
        "dinov3_vit": lambda: (
            transformers.DINOv3ViTModel(
                transformers.DINOv3ViTConfig(image_size=64, patch_size=16, num_register_tokens=4, **_WIDE)
            ),
            transformers.DINOv3ViTImageProcessor(size=square),
        ),
    }
    model, processor = made[model_type]()
    for parameter in model.parameters():  # biases and scales too, so that a LayerNorm left out would show
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval(), processor


def saved_tower(model_type: str, folder: Path) -> Path:
    """The folder of a `random_tower`."""
    for part in random_tower(model_type):
        part.save_pretrained(folder)
    return folder
