"""Arms: what a study compares, each a recipe with some settings replaced.

In: a name, or a name with settings. Out: an `Arm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from genlip.suggestions import did_you_mean

__all__ = ["ARMS", "Arm", "read_arm", "read_arms"]

ARMS = {
    "genlip": {},
    "ungated": {"model.gated_attention": "false"},
    "registers_1": {"task": "genlip_variant", "variant.registers": "1", "model.gated_attention": "false"},
    "registers_4": {"task": "genlip_variant", "variant.registers": "4", "model.gated_attention": "false"},
    "dropped_patches": {"task": "genlip_variant", "variant.kept": "0.5"},
    "from_language": {"task": "genlip_from_language"},
    "from_language_random": {"task": "genlip_from_language", "language.weights": "false"},
    "siglip": {"task": "siglip"},
    "clip": {"task": "clip"},
    "encoder_decoder": {"task": "encoder_decoder"},
    "openvision2": {"task": "encoder_decoder", "decoder.kept": "0.35"},
    "cap": {"task": "cap"},
    "cappa": {"task": "cap", "decoder.parallel": "0.75"},
}
"""The settings of each arm by its name."""


class Arm(NamedTuple):
    """One of the things that are compared.

    Attributes:
        name: as the user wrote it; unique in a study.
        settings: dotted settings of the recipe, by which this arm differs from it.
    """

    name: str
    settings: dict[str, str]

    @property
    def overrides(self) -> list[str]:
        """The settings as `load_recipe` takes them."""
        return [f"--{key}={value}" for key, value in self.settings.items()]


def read_arm(text: str) -> Arm:
    """An arm out of its name, such as "siglip", or with further settings: "siglip:pairs.bias=-4,model.num_hidden_layers=8".

    Raises ValueError for a name that is not in `ARMS`, and for settings without a value.
    """
    name, _, more = text.partition(":")
    if name not in ARMS:
        raise ValueError(f"arm {name!r}: need one of {', '.join(ARMS)}{did_you_mean(name, ARMS)}")
    pairs = [part.partition("=") for part in more.split(",") if part]
    if wrong := [key for key, sign, value in pairs if not (key and sign and value)]:
        raise ValueError(f"arm {text!r}: {', '.join(wrong)} has no value; settings are written NAME:KEY=VALUE,KEY=VALUE")
    return Arm(text, ARMS[name] | {key: value for key, _, value in pairs})


def read_arms(texts: Sequence[str]) -> list[Arm]:
    """All arms of a study. Raises ValueError as `read_arm` does, and where one is named twice."""
    if not texts or len(set(texts)) < len(texts):
        raise ValueError(f"arms {' '.join(texts)}: need at least one, each once")
    return [read_arm(text) for text in texts]
