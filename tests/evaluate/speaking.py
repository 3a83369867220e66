"""What tests of measurements share: a small random speaker, and images in memory whose objects are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from genlip.data.captions import Captions
from genlip.data.datasets.regions import Named, Object
from genlip.data.examples import Unusable
from genlip.data.images import ImageConfig
from genlip.model.genlip import GenLIP
from genlip.speaker import Speaker

from ..data.helpers import noise, small_config, small_tokenizer


def small_speaker(images: ImageConfig | None = None, dtype: torch.dtype = torch.float32) -> Speaker:
    """Random weights, 8x8 patches, images of 32x32 pixels unless said otherwise."""
    torch.manual_seed(0)
    model = GenLIP(small_config(num_hidden_layers=2)).eval()
    return Speaker(model.to(dtype), images or ImageConfig(size=32), Captions(small_tokenizer()))


@dataclass(frozen=True)
class Known:
    """A set at hand; None is an image that cannot be used."""

    items: Sequence[Named | None]
    name: str = "known"

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Named:
        item = self.items[index]
        if item is None:
            raise Unusable("damaged", f"number {index} is damaged")
        return item


def named(key: str, objects: Sequence[tuple[tuple[str, ...], tuple[int, int, int, int]]], seed: int = 0) -> Named:
    """32x32 pixels of noise with objects in boxes (top, left, bottom, right)."""
    found = []
    for words, (top, left, bottom, right) in objects:
        mask = np.zeros((32, 32), dtype=bool)
        mask[top:bottom, left:right] = True
        found.append(Object(words, mask))
    return Named(key, Image.fromarray(noise(32, 32, seed=seed)), tuple(found))
