"""Encoders: `genlip.encoders.timm(...)`, `genlip.encoders.transformers(...)`, and `open_encoder(...)` for any of them.

In: a model's name, folder or Hub id. Out: an `Encoder`. No library is imported before its function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genlip.lazy import lazy

if TYPE_CHECKING:
    from genlip.encoders.opening import open_encoder
    from genlip.encoders.timm_encoder import TimmEncoder, timm
    from genlip.encoders.transformers_encoder import TransformersEncoder, transformers

__all__ = ["TimmEncoder", "TransformersEncoder", "open_encoder", "timm", "transformers"]

_HOMES = {
    "TimmEncoder": "timm_encoder",
    "TransformersEncoder": "transformers_encoder",
    "open_encoder": "opening",
    "timm": "timm_encoder",
    "transformers": "transformers_encoder",
}

__getattr__, _names = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return _names()
