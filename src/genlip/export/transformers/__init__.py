"""GenLIP in Transformers: importing this registers it with the Auto classes.

>>> import genlip.export.transformers  # doctest: +SKIP
>>> AutoModel.from_pretrained("runs/quickstart/model")  # doctest: +SKIP

`AutoModel` is the encoder, which LLaVA and other configurations with a `vision_config` load;
`AutoModelForImageTextToText` is the whole model. Transformers has no entry point for packages, so the import is needed once.
A folder written by `genlip export … --to transformers --remote-code` needs neither the import nor genlip.
"""

from __future__ import annotations

from genlip.extras import require

require("transformers", "transformers")

from transformers import (  # noqa: E402
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from genlip.export.transformers.configuration_genlip import GenLIPConfig  # noqa: E402
from genlip.export.transformers.convert import export_transformers, hub_config  # noqa: E402
from genlip.export.transformers.image_processing_genlip import GenLIPImageProcessor  # noqa: E402
from genlip.export.transformers.modeling_genlip import GenLIPForConditionalGeneration, GenLIPVisionModel  # noqa: E402
from genlip.export.transformers.processing_genlip import GenLIPProcessor  # noqa: E402

__all__ = [
    "GenLIPConfig",
    "GenLIPForConditionalGeneration",
    "GenLIPImageProcessor",
    "GenLIPProcessor",
    "GenLIPVisionModel",
    "export_transformers",
    "hub_config",
]

AutoConfig.register("genlip", GenLIPConfig, exist_ok=True)
AutoModel.register(GenLIPConfig, GenLIPVisionModel, exist_ok=True)
AutoModelForImageTextToText.register(GenLIPConfig, GenLIPForConditionalGeneration, exist_ok=True)
# One class for both backends of Transformers: it resizes with neither torchvision nor Pillow.
_PROCESSORS: dict[str, type] = {"torchvision": GenLIPImageProcessor, "pil": GenLIPImageProcessor}
AutoImageProcessor.register(GenLIPConfig, image_processor_classes=_PROCESSORS, exist_ok=True)
AutoProcessor.register(GenLIPConfig, GenLIPProcessor, exist_ok=True)
