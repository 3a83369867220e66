"""Degraded: a source whose images are shown in many variants, as poor scans, photos and screens would show them.

In: a source of images. Out: a source that is so many times as long; example i is variant i // n of example i % n.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from genlip.data.examples import Caption, Example, short_repr
from genlip.data.images import ImageError, decode_pixels
from genlip.data.sources.base import Source
from genlip.synthetic.degradation import DEGRADATIONS, degraded

__all__ = ["Degraded"]


@dataclass(frozen=True, repr=False)
class Degraded:
    """Variants of the images of a source; see `genlip.synthetic.degradation`.

    Attributes:
        source: the images.
        kind: one of `DEGRADATIONS`: "print", "drawings", or "line", which only brings lines to their height.
        variants: number of variants of each image; 0 takes that of the kind.
        seed: other variants.
        max_pixels: images with more pixels than this are refused before they are decoded.
    """

    source: Source
    kind: str
    variants: int = 0
    seed: int = 0
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        if self.kind not in DEGRADATIONS:
            raise ValueError(f"degrade is {self.kind!r}: need one of {', '.join(DEGRADATIONS)}")
        if self.variants < 0:
            raise ValueError(f"variants is {self.variants}: need at least 1, or 0 for those of the kind")
        object.__setattr__(self, "variants", self.variants or DEGRADATIONS[self.kind].variants)

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.source) * self.variants

    def __getitem__(self, index: int) -> Example:
        variant, place = divmod(int(index), len(self.source))
        example = self.source[place]
        try:
            pixels = decode_pixels(example.image, self.max_pixels)
        except ImageError as error:
            raise ImageError(error.reason, f"{example.key}: {error}") from None
        changed = degraded(pixels, DEGRADATIONS[self.kind], self.seed, index)
        return example._replace(image=Image.fromarray(changed), key=f"{example.key} (variant {variant})")

    def caption(self, index: int) -> Caption:
        """The caption alone, without reading the image."""
        return self.source.caption(int(index) % len(self.source))
