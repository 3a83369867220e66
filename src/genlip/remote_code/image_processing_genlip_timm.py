"""The image processor of a vision tower of timm: timm's own evaluation transform.

In: Pillow images, arrays or tensors, paths, URLs. Out: `pixel_values`, as images of one size, or for NaFlex models as padded
patches with `pixel_attention_mask` and `spatial_shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from .image_processing_genlip import flat_images, upright

__all__ = ["GenLIPTimmImageProcessor"]

# Keywords that Transformers writes into its files, or passes to every image processor.
_ACCEPTED = ("device", "use_fast", "backend", "auto_map", "image_processor_type", "processor_class")


class GenLIPTimmImageProcessor(BaseImageProcessor):
    """Applies the transform that `timm.data.create_transform` makes of these settings.

    Attributes:
        transform: keywords of `create_transform`, such as input_size, mean, std, interpolation and crop_pct.
        patch_size: side of a patch in pixels.
    """

    model_input_names = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]  # noqa: RUF012

    def __init__(self, transform: Mapping[str, Any] | None = None, patch_size: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transform, self.patch_size = dict(transform or {}), patch_size

    def preprocess(self, images: Any, return_tensors: str | None = None, **kwargs: Any) -> BatchFeature:
        """Pixels of one or several images. Raises TypeError for a keyword, since no setting can be replaced."""
        if unknown := sorted(name for name, value in kwargs.items() if name not in _ACCEPTED and value is not None):
            raise TypeError(f"GenLIPTimmImageProcessor cannot do {', '.join(unknown)}")
        apply = create_transform(**self.transform, is_training=False)
        pixels = [apply(self._picture(image)) for image in flat_images(images)]
        data = self._padded(pixels) if self.transform.get("naflex") else {"pixel_values": torch.stack(pixels)}
        return BatchFeature(data, tensor_type=return_tensors)

    def _picture(self, image: Any) -> Image.Image:
        return Image.fromarray(upright(image, 3).permute(1, 2, 0).numpy())

    def _padded(self, images: list[Tensor]) -> dict[str, Tensor]:
        """Images as patches, row-major and channel first, padded with zeros to the longest."""
        side, pad = self.patch_size, torch.nn.utils.rnn.pad_sequence
        patches = [F.unfold(x[None], side, stride=side)[0].T for x in images]
        return {
            "pixel_values": pad(patches, batch_first=True),
            "pixel_attention_mask": pad([torch.ones(len(x), dtype=torch.long) for x in patches], batch_first=True),
            "spatial_shapes": torch.tensor([[x.shape[1] // side, x.shape[2] // side] for x in images]),
        }
