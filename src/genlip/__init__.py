"""genlip: vision encoders that learn by speaking (GenLIP, arXiv 2605.00809).

Start with `genlip.Speaker` for features, captions and patch readouts of images, `genlip.load` for the plain model, and
`genlip.train.loop.train(genlip.load_recipe(name))` for training. Heavier parts are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genlip.lazy import lazy

if TYPE_CHECKING:
    from genlip.data.images import ImageConfig, ImageError
    from genlip.data.sources import open_source
    from genlip.model.checkpoint import CheckpointError, load, save
    from genlip.model.config import GenLIPConfig
    from genlip.model.decoding import Decoding
    from genlip.model.generation import generate, generate_steps, patch_readout
    from genlip.model.genlip import GenLIP
    from genlip.model.pack import Pack, Sample
    from genlip.recipes.recipe import Run, load_recipe
    from genlip.speaker import Features, PatchWords, Speaker

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "model.checkpoint",
    "Decoding": "model.decoding",
    "Features": "speaker",
    "GenLIP": "model.genlip",
    "GenLIPConfig": "model.config",
    "ImageConfig": "data.images",
    "ImageError": "data.images",
    "Pack": "model.pack",
    "PatchWords": "speaker",
    "Run": "recipes.recipe",
    "Sample": "model.pack",
    "Speaker": "speaker",
    "generate": "model.generation",
    "generate_steps": "model.generation",
    "load": "model.checkpoint",
    "load_recipe": "recipes.recipe",
    "open_source": "data.sources",
    "patch_readout": "model.generation",
    "save": "model.checkpoint",
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

__getattr__, _names = lazy(__name__, _HOMES, parts=("data", "evaluate", "model", "quickstart", "train"))


def __dir__() -> list[str]:
    return ["__version__", *_names()]
