"""GenLIP in Transformers: importing this registers it with the Auto classes.

>>> import genlip.export.transformers  # doctest: +SKIP
>>> AutoModel.from_pretrained("runs/quickstart/model")  # doctest: +SKIP

`AutoModel` is the encoder, which LLaVA and other configurations with a `vision_config` load;
`AutoModelForImageTextToText` is the whole model. Transformers has no entry point for packages, so the import is needed once.
A folder written by `genlip export … --to transformers --remote-code` needs neither the import nor genlip.
"""

from __future__ import annotations

from genlip.remote_code import register

register()

from genlip.export.transformers.convert import export_transformers  # noqa: E402
from genlip.remote_code.configuration_genlip import GenLIPConfig  # noqa: E402
from genlip.remote_code.image_processing_genlip import GenLIPImageProcessor  # noqa: E402
from genlip.remote_code.modeling_genlip import GenLIPForConditionalGeneration, GenLIPVisionModel  # noqa: E402
from genlip.remote_code.processing_genlip import GenLIPProcessor  # noqa: E402
from genlip.remote_code.settings import hub_config  # noqa: E402

__all__ = [
    "GenLIPConfig",
    "GenLIPForConditionalGeneration",
    "GenLIPImageProcessor",
    "GenLIPProcessor",
    "GenLIPVisionModel",
    "export_transformers",
    "hub_config",
]
