"""What the tests of exports share: a small folder that holds all that a trained model's does, and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import genlip
from genlip.data.captions import CaptionConfig, train_tokenizer
from genlip.data.images import ImageConfig
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP

from ..model.helpers import Recording, recording, write_recorded

CORPUS = ["a small red circle", "two blue squares and the number 42", "describe the image", "a green triangle on the left"]
GRIDS = [(14, 14), (3, 9), (1, 4), (40, 25)]
TOLERANCE = 1e-5  # of the largest value, what a conversion may differ by in float32


def model_folder(folder: Path, *, resize: str = "native", prompt: str = "describe the image", **changes: Any) -> Path:
    """A tiny model of random weights with its tokenizer and settings, as a run writes it; patches of 4 pixels."""
    torch.manual_seed(0)
    config = GenLIPConfig.preset("tiny", vocab_size=320, patch_size=4, **changes)
    genlip.save(lively(GenLIP(config)), folder)
    images = ImageConfig(resize=resize, size=24, min_patches=4, max_patches=60)
    tokenizer = train_tokenizer(CORPUS, 300)
    save_preprocessing(folder, Preprocessing(images=images, captions=CaptionConfig(prompt=prompt)), tokenizer)
    return folder


def lively(model: GenLIP) -> GenLIP:
    """The model with every parameter random, biases and scales too, so that a lost one shows; activations stay near 1.

    Words and pixels weigh enough for captions to differ from image to image and from token to token.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.3)
        elif name in ("embeddings.weight", "vision_embeddings.patch_embedding.weight"):
            torch.nn.init.normal_(parameter, std=1.0 if name.startswith("emb") else 0.2)
    return model.eval()


def pictures() -> list[Image.Image]:
    """Four images of different shapes."""
    random = np.random.default_rng(0)
    sizes = [(24, 24), (17, 45), (60, 20), (8, 8)]
    return [Image.fromarray(random.integers(256, size=(height, width, 3), dtype=np.uint8)) for height, width in sizes]


def published_folder(name: str, folder: Path) -> tuple[Path, Recording]:
    """A recording as a published folder, `model_type` included, and what was recorded."""
    folder.mkdir(parents=True, exist_ok=True)
    recorded = recording(name)
    write_recorded(name, folder)
    (folder / "config.json").write_text(json.dumps(recorded.config | {"model_type": "genlip"}))
    return folder, recorded


def stray(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a share of the largest expected value."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max())
