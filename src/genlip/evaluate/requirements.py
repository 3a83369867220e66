"""Requirements: what a measurement needs of an encoder besides features, said in one line where the encoder lacks it.

In: an encoder. Out: the same object, as a `Speaker` where it has to be one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from genlip.encoder import Encoder
    from genlip.speaker import Speaker

__all__ = ["NEED_GENLIP", "opened", "refusal", "require_speaker", "require_whole_image"]

T = TypeVar("T")

NEED_GENLIP = ("captioning", "zero-shot", "readout", "attention")
"""Measurements that read more of a model than its features."""


def refusal(measurement: str, name: str) -> str:
    """Why one of `NEED_GENLIP` cannot measure a model that is no GenLIP."""
    if measurement == "attention":
        needed = f"attention reads the attention weights of a GenLIP, and {name} is another model"
    else:
        needed = f"{measurement} needs a model that speaks, and {name} gives features alone"
    return f"{needed}; measure it by probe, segmentation or features"


def require_speaker(encoder: Encoder, measurement: str) -> Speaker:
    """The encoder, if it is a GenLIP. Raises ValueError for any other model."""
    from genlip.speaker import Speaker  # here, because the command line reads `NEED_GENLIP` before it needs PyTorch

    if not isinstance(encoder, Speaker):
        raise ValueError(refusal(measurement, encoder.name))
    return encoder


def require_whole_image(encoder: Encoder, measurement: str) -> None:
    """Raises ValueError for an encoder that crops: its patches would be compared with other places of the image."""
    if not encoder.whole_image:
        raise ValueError(
            f"{measurement} needs patches of whole images, and {encoder.name} crops them: give squash=True (--squash) to "
            "resize them to a square instead"
        )


def opened(data: str | Path | T, open_data: Callable[[str], T]) -> T:
    """The data as they are, or what `open_data` opens if they are named by a text or a path."""
    return open_data(str(data)) if isinstance(data, (str, Path)) else data
