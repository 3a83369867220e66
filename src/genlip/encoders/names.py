"""Names: how a command names a model, and which library it belongs to.

In: what the user wrote, such as `timm:NAME`, `transformers:FOLDER`, or a folder or Hub id of genlip; with "random:" before
it, its architecture with new weights. Out: the library and the rest, or an error that names the right spelling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genlip.encoders.transformers_encoder import MODEL_TYPES
from genlip.model.reading import read_json

__all__ = ["check_genlip", "is_genlip", "library_of", "split_random"]

_LIBRARIES = ("timm", "transformers")
_RANDOM = "random:"


def split_random(model: str) -> tuple[bool, str]:
    """(True, the rest) for a name after "random:", which asks for new weights; else (False, the name)."""
    rest = model.removeprefix(_RANDOM)
    return (True, rest) if rest and rest != model else (False, model)


def library_of(model: str) -> tuple[str, str]:
    """("timm" or "transformers", the rest), or ("", the rest) for a model of genlip; "random:" is left out."""
    _, name = split_random(model)
    library, colon, rest = name.partition(":")
    return (library, rest) if colon and rest and library in _LIBRARIES else ("", name)


def is_genlip(model: str) -> bool:
    """Whether a name is that of a model of genlip with its own weights, which generates text."""
    return not split_random(model)[0] and not library_of(model)[0]


def check_genlip(model: str) -> None:
    """Raise ValueError for a name or folder of another library's model, with the spelling that it needs, and for a model
    with new weights."""
    library, _ = library_of(model)
    if split_random(model)[0]:
        raise ValueError(
            f"{model} asks for new weights, and this command takes a trained model of genlip; measure the former by genlip "
            "eval probe, segmentation or features"
        )
    if library:
        raise ValueError(
            f"{model} is a model of {library}, and this command takes one of genlip; measure the former by genlip eval "
            "probe, segmentation or features"
        )
    file = Path(model) / "config.json"
    if not file.is_file():
        return
    try:
        config: Any = read_json(file)
    except ValueError:  # reading the model says what is wrong
        return
    if not isinstance(config, dict):
        return
    if config.get("model_type") in MODEL_TYPES:
        raise ValueError(f"{model} holds a {config['model_type']} of Transformers, no GenLIP: write transformers:{model}")
    if "architecture" in config and "model_type" not in config:
        raise ValueError(f"{model} holds a {config['architecture']} of timm, no GenLIP: write timm:{model}")
