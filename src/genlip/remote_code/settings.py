"""Settings of Transformers for a GenLIP, and the code that a folder contains for `trust_remote_code`.

In: settings of genlip. Out: the config and the image processor of Transformers with the same meaning; copies of files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genlip.data.images import ImageConfig
from genlip.model import config as plain
from genlip.model.reading import read_json
from genlip.model.writing import write_json
from genlip.remote_code.configuration_genlip import GenLIPConfig
from genlip.remote_code.image_processing_genlip import GenLIPImageProcessor

__all__ = ["add_code", "hub_config", "image_processor"]

_IMAGE_PROCESSOR = "AutoImageProcessor"


def hub_config(config: plain.GenLIPConfig, **more: Any) -> GenLIPConfig:
    """The config of Transformers for a config of genlip; keywords are its own fields, such as `eos_token_id`."""
    return GenLIPConfig(architectures=["GenLIPForConditionalGeneration"], **{**config.to_dict(), **more})


def image_processor(images: ImageConfig, model: plain.GenLIPConfig) -> GenLIPImageProcessor:
    """The image processor with the settings of the model's training."""
    return GenLIPImageProcessor(
        resize=images.resize,
        size=images.size,
        patch_size=model.patch_size,
        min_patches=images.min_patches,
        max_patches=images.max_patches,
        num_channels=model.num_channels,
    )


def add_code(folder: Path, files: Iterable[str], models: Mapping[str, str], processors: Mapping[str, str]) -> None:
    """Copy files of this package into a folder, and name their classes in its settings (auto_map).

    files       names without ".py"
    models      "file.Class" of each Auto class of config.json
    processors  the same of processor_config.json and preprocessor_config.json
    """
    for name in files:
        shutil.copyfile(Path(__file__).parent / f"{name}.py", folder / f"{name}.py")
    images = {name: found for name, found in processors.items() if name == _IMAGE_PROCESSOR}
    for settings, classes in (("config", models), ("preprocessor_config", images), ("processor_config", processors)):
        if (file := folder / f"{settings}.json").is_file() and classes:
            keys = read_json(file) | {"auto_map": dict(classes)}
            if "image_processor" in keys and images:
                keys["image_processor"]["auto_map"] = images
            write_json(file, keys)
