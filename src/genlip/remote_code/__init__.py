"""Classes for Transformers, in files that a folder may contain for `trust_remote_code`.

The files `*_genlip.py` and `*_genlip_llava.py` import nothing of genlip: folders contain copies of them. `register()` makes
them known to the Auto classes of Transformers, which has no entry point for packages.
"""

from __future__ import annotations

from importlib.util import find_spec

from genlip.extras import require

__all__ = ["register"]


def register() -> None:
    """Let the Auto classes of Transformers load the folders that genlip writes. A second call changes nothing.

    Raises `MissingExtra` where Transformers is not installed, or is too old.
    """
    require("transformers", "transformers")
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor

    from genlip.remote_code.configuration_genlip import GenLIPConfig
    from genlip.remote_code.image_processing_genlip import GenLIPImageProcessor
    from genlip.remote_code.modeling_genlip import GenLIPForConditionalGeneration, GenLIPVisionModel
    from genlip.remote_code.processing_genlip import GenLIPProcessor

    AutoConfig.register("genlip", GenLIPConfig, exist_ok=True)
    AutoModel.register(GenLIPConfig, GenLIPVisionModel, exist_ok=True)
    AutoModelForImageTextToText.register(GenLIPConfig, GenLIPForConditionalGeneration, exist_ok=True)
    # One class for both backends of Transformers: it resizes with neither torchvision nor Pillow.
    processors: dict[str, type] = {"torchvision": GenLIPImageProcessor, "pil": GenLIPImageProcessor}
    AutoImageProcessor.register(GenLIPConfig, image_processor_classes=processors, exist_ok=True)
    AutoProcessor.register(GenLIPConfig, GenLIPProcessor, exist_ok=True)
    _register_llava()


def _register_llava() -> None:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

    from genlip.remote_code.configuration_genlip_llava import GenLIPLlavaConfig
    from genlip.remote_code.modeling_genlip_llava import GenLIPLlavaForConditionalGeneration
    from genlip.remote_code.processing_genlip_llava import GenLIPLlavaProcessor

    AutoConfig.register("genlip_llava", GenLIPLlavaConfig, exist_ok=True)
    AutoModelForImageTextToText.register(GenLIPLlavaConfig, GenLIPLlavaForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(GenLIPLlavaConfig, GenLIPLlavaProcessor, exist_ok=True)
    if find_spec("timm") is not None:
        from genlip.remote_code.image_processing_genlip_timm import GenLIPTimmImageProcessor

        processors: dict[str, type] = {"torchvision": GenLIPTimmImageProcessor, "pil": GenLIPTimmImageProcessor}
        AutoImageProcessor.register(GenLIPLlavaConfig, image_processor_classes=processors, exist_ok=True)
