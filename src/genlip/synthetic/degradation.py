"""Degradation: an image -> the same image as a poor scan, photo or screen would show it.

In: UInt8[H, W, 3] pixels, the seed and the number of a variant. Out: UInt8[h, w, 3] pixels, a pure function of both.
Margin, size and shape, rotation, blur, colours and light, noise, and JPEG change, in this order. Each has a random strength,
and most are left out of some images, so that some stay almost as they are. A line of print is brought to one height at the
end, whatever was lost before.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from genlip.synthetic.random_choices import RandomChoices

__all__ = ["DEGRADATIONS", "Degradation", "degraded", "line_size"]


@dataclass(frozen=True)
class Degradation:
    """How much an image is changed at most.

    Attributes:
        margin: of the shorter side: so much is added around the image or cut off, on each side by itself.
        scale: smallest and largest factor of its sides; the factors between are equally likely on a logarithmic scale.
        stretch: largest ratio by which the width is changed more than the height, or less.
        rotation: in degrees, to either side.
        blur: standard deviation in pixels of the smaller image.
        light: share of the range of values that may be lost at each end; less contrast.
        slope: share of the range by which one side may be darker than the other.
        tint: share of images whose paper and ink get colours.
        inverted: share of images that are shown as a negative.
        noise: standard deviation, as a share of the range of values.
        quality: lowest quality of JPEG; 100 uses none.
        least: pixels of the shorter side that stay at least.
        variants: of an image in a source.
        height: pixels to which the damaged image is enlarged or reduced at the end, as readers of lines do; 0 leaves it.
    """

    margin: float = 0.1
    scale: tuple[float, float] = (0.3, 1.5)
    stretch: float = 1.15
    rotation: float = 0.7
    blur: float = 1.0
    light: float = 0.4
    slope: float = 0.3
    tint: float = 0.2
    inverted: float = 0.1
    noise: float = 0.12
    quality: int = 15
    least: int = 7
    variants: int = 64
    height: int = 32


DEGRADATIONS = {
    "print": Degradation(),
    "drawings": Degradation(
        scale=(0.4, 1.2),
        stretch=1.2,
        rotation=10,
        light=0.3,
        tint=0.0,
        inverted=0.0,
        noise=0.08,
        quality=25,
        least=16,
        height=0,
    ),
    "line": Degradation(
        margin=0, scale=(1, 1), stretch=1, rotation=0, blur=0, light=0, slope=0, tint=0, inverted=0, noise=0, quality=100,
        least=1, variants=1,
    ),
}  # fmt: skip


def degraded(pixels: np.ndarray, limits: Degradation, seed: int, number: int) -> np.ndarray:
    """A variant of an image. UInt8[H, W, 3] -> UInt8[h, w, 3].

    seed, number  choose the variant; the same ones always give the same
    """
    rng = RandomChoices(seed, number)
    image = Image.fromarray(pixels)
    for step in _STEPS:
        image = step(image, limits, rng)
    return np.asarray(image)


def _framed(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    left, top, right, bottom = (round(limits.margin * min(image.size) * rng.between(-1, 1)) for _ in range(4))
    framed = Image.new("RGB", (max(1, image.width + left + right), max(1, image.height + top + bottom)), _border(image))
    framed.paste(image, (left, top))
    return framed


def _resized(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    low, high = (math.log(factor) for factor in limits.scale)
    across = math.log(limits.stretch) * rng.between(-1, 1) / 2
    factor = max(math.exp(rng.between(low, high)), limits.least / min(image.size))
    sides = image.width * math.exp(across), image.height / math.exp(across)
    how = rng.one((Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX))
    return image.resize((max(1, round(sides[0] * factor)), max(1, round(sides[1] * factor))), how)


def _rotated(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    angle = limits.rotation * rng.between(-1, 1)
    if rng.chance(0.5):
        return image
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=_border(image))


def _border(image: Image.Image) -> tuple[int, ...]:
    """The colour that lies most around an image: the median of its border."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(border, axis=0))


def _blurred(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    radius = limits.blur * rng.share()
    return image if rng.chance(0.5) else image.filter(ImageFilter.GaussianBlur(radius))


def _lit(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    """Less contrast, colours of paper and ink, light from one side, and a negative."""
    values = np.asarray(image, np.float32) / 255
    dark, bright = [limits.light * rng.share()] * 3, [1 - limits.light * rng.share()] * 3
    if rng.chance(limits.tint):
        dark, bright = [0.5 * rng.share() for _ in range(3)], [rng.between(0.6, 1) for _ in range(3)]
    if rng.chance(0.5):
        values = values * np.subtract(bright, dark, dtype=np.float32) + np.array(dark, np.float32)
    if rng.chance(0.25):
        height, width = values.shape[:2]
        across = rng.between(-1, 1)
        down = (1 - abs(across)) * rng.between(-1, 1)
        ramp = across * np.linspace(-0.5, 0.5, width)[None, :] + down * np.linspace(-0.5, 0.5, height)[:, None]
        values = values * (1 - limits.slope * (ramp + 0.5 * (abs(across) + abs(down)))[..., None])
    if rng.chance(limits.inverted):
        values = 1 - values
    return _image(values)


def _noisy(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    strength, seed = limits.noise * rng.share() ** 2, rng.whole(0, 2**31 - 1)
    if rng.chance(0.5):
        return image
    shape = (image.height, image.width, 1 if rng.chance(0.7) else 3)  # grey noise, or a value for each channel
    noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return _image(np.asarray(image, np.float32) / 255 + strength * noise)


def _compressed(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    if limits.quality == 100:
        return image
    quality = rng.whole(limits.quality, 90)
    if rng.chance(0.6):
        return image
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _fitted(image: Image.Image, limits: Degradation, rng: RandomChoices) -> Image.Image:
    if not limits.height:
        return image
    return image.resize(line_size(image.size, limits.height), Image.Resampling.BICUBIC)


def line_size(size: tuple[int, int], height: int) -> tuple[int, int]:
    """Width and height in pixels of a line of print that is brought to one height."""
    return max(1, round(size[0] * height / size[1])), height


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values * 255 + 0.5).clip(0, 255).astype(np.uint8))


_Step = Callable[[Image.Image, Degradation, RandomChoices], Image.Image]
_STEPS: tuple[_Step, ...] = (_framed, _resized, _rotated, _blurred, _lit, _noisy, _compressed, _fitted)
