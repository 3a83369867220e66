"""genlip: vision encoders that learn by speaking (GenLIP, arXiv 2605.00809).

Start with `genlip.Speaker` for features, captions and patch readouts of images, `genlip.load` for the plain model, and
`genlip.train.train(genlip.load_recipe(name))` for training. Heavier parts are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genlip.data.images import ImageConfig, ImageError
    from genlip.data.sources import open_source
    from genlip.model.checkpoint import CheckpointError, load, save
    from genlip.model.config import GenLIPConfig
    from genlip.model.decoding import Decoding
    from genlip.model.generation import generate, generate_steps, patch_readout
    from genlip.model.genlip import GenLIP
    from genlip.model.pack import Pack, Sample
    from genlip.speaker import Features, PatchWords, Speaker
    from genlip.train.recipe import Run, load_recipe

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "genlip.model.checkpoint",
    "Decoding": "genlip.model.decoding",
    "Features": "genlip.speaker",
    "GenLIP": "genlip.model.genlip",
    "GenLIPConfig": "genlip.model.config",
    "ImageConfig": "genlip.data.images",
    "ImageError": "genlip.data.images",
    "Pack": "genlip.model.pack",
    "PatchWords": "genlip.speaker",
    "Run": "genlip.train.recipe",
    "Sample": "genlip.model.pack",
    "Speaker": "genlip.speaker",
    "generate": "genlip.model.generation",
    "generate_steps": "genlip.model.generation",
    "load": "genlip.model.checkpoint",
    "load_recipe": "genlip.train.recipe",
    "open_source": "genlip.data.sources",
    "patch_readout": "genlip.model.generation",
    "save": "genlip.model.checkpoint",
}

__all__ = [
    "CheckpointError",
    "Decoding",
    "Features",
    "GenLIP",
    "GenLIPConfig",
    "ImageConfig",
    "ImageError",
    "Pack",
    "PatchWords",
    "Run",
    "Sample",
    "Speaker",
    "__version__",
    "generate",
    "generate_steps",
    "load",
    "load_recipe",
    "open_source",
    "patch_readout",
    "save",
]


_PARTS = ("data", "evaluate", "model", "quickstart", "train")


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"genlip.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'genlip' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *_PARTS]
