"""Decoding and resizing JPEGs on one core: milliseconds for an image, and how far its pixels are from plain Pillow's.

Three different images of each size, of octaves of smooth noise, so that they compress like photographs. All ways take
turns on the same image, and their medians are told:

    pillow             Pillow decodes, Pillow resizes (bicubic): what the others are compared with
    pillow, gap        Pillow decodes, Pillow resizes with reducing_gap=2
    draft, pillow      Pillow decodes at 1/2, 1/4 or 1/8 where that is still large enough, Pillow resizes
    simplejpeg, pillow simplejpeg decodes, Pillow resizes
    simplejpeg, torch  this package
    scaled, torch      simplejpeg decodes at a reduced size that is still large enough, PyTorch resizes
    torchcodec, torch  torchcodec decodes, PyTorch resizes; left out, with the reason, where it cannot be imported

    python benchmarks/decoders.py [--repeats 11]

ATEN_CPU_CAPABILITY=default shows what PyTorch does without AVX2. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch
from PIL import Image

from genlip.data.images import native_size, resize

SIZES = ((384, 512), (768, 1024), (1536, 2048))  # height, width
QUALITY = 88
Size = tuple[int, int]
Decode = Callable[[bytes, Size], np.ndarray]
Resize = Callable[[np.ndarray, Size], np.ndarray]


class Way(NamedTuple):
    """How bytes become pixels of a size."""

    decode: Decode
    resize: Resize


def pillow(data: bytes, size: Size) -> np.ndarray:
    """Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)))


def draft(data: bytes, size: Size) -> np.ndarray:
    """Pillow, from fewer coefficients where the target allows it."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", size[::-1])
    return np.asarray(image)


def whole(data: bytes, size: Size) -> np.ndarray:
    """Simplejpeg."""
    return simplejpeg.decode_jpeg(data, "RGB")


def scaled(data: bytes, size: Size) -> np.ndarray:
    """Simplejpeg, from fewer coefficients where the target allows it."""
    return simplejpeg.decode_jpeg(data, "RGB", min_height=size[0], min_width=size[1])


def bicubic(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Pillow."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))


def with_gap(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Pillow, after a reduction by whole numbers to no less than twice the size."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC, reducing_gap=2.0))


def by_torch(pixels: np.ndarray, size: Size) -> np.ndarray:
    """This package."""
    return resize(pixels, *size)


WAYS = {
    "pillow": Way(pillow, bicubic),
    "pillow, gap": Way(pillow, with_gap),
    "draft, pillow": Way(draft, bicubic),
    "simplejpeg, pillow": Way(whole, bicubic),
    "simplejpeg, torch": Way(whole, by_torch),
    "scaled, torch": Way(scaled, by_torch),
}


def torchcodec() -> Way | str:
    """The way of torchcodec, or why it cannot be imported."""
    try:
        decode_jpeg = importlib.import_module("torchcodec.decoders").decode_jpeg
    except (ImportError, OSError, RuntimeError) as error:
        cause = error.__cause__ or error.__context__ or error
        return f"{type(cause).__name__}: {cause}"
    return Way(lambda data, size: decode_jpeg(data).permute(1, 2, 0).contiguous().numpy(), by_torch)


def octave(rng: np.random.Generator, cells: int, height: int, width: int) -> np.ndarray:
    """Float[H, W, 3] smooth noise of so many cells from top to bottom, for the most part grey."""
    shape = (cells, cells * width // height)
    planes = (rng.normal(size=(1, *shape)) + 0.2 * rng.normal(size=(3, *shape))).astype(np.float32)
    resized = (Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC) for plane in planes)
    return np.stack([np.asarray(plane) for plane in resized], axis=-1)


def photograph(height: int, width: int, seed: int) -> bytes:
    """A JPEG of noise whose octaves weaken slowly, as those of photographs do, from the whole image down to two pixels."""
    rng = np.random.default_rng(seed)
    cells = [2**n for n in range(1, height.bit_length())]
    total = sum(0.7**n * octave(rng, size, height, width) for n, size in enumerate(cells))
    levels = (128 + 45 * total / np.std(total)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def timed(way: Way, data: bytes, size: Size) -> tuple[float, float, np.ndarray]:
    """Milliseconds of decoding, of resizing, and the pixels."""
    start = time.perf_counter()
    decoded = way.decode(data, size)
    between = time.perf_counter()
    pixels = way.resize(decoded, size)
    return (between - start) * 1e3, (time.perf_counter() - between) * 1e3, pixels


def measure(ways: dict[str, Way], files: list[bytes], size: Size, repeats: int) -> dict[str, dict[str, float]]:
    """Median times of each way, and its differences from the first one's pixels."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    largest, mean = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0)
    for data in files:
        reference = timed(ways["pillow"], data, size)[2].astype(int)
        for name, way in ways.items():
            difference = np.abs(timed(way, data, size)[2] - reference)
            largest[name] = max(largest[name], int(difference.max()))
            mean[name] += float(difference.mean()) / len(files)
        for _ in range(repeats):
            for name, way in ways.items():
                took[name].append(timed(way, data, size)[:2])
    return {
        name: {
            "decode_ms": round(median(d for d, _ in took[name]), 2),
            "resize_ms": round(median(r for _, r in took[name]), 2),
            "sum_ms": round(median(d + r for d, r in took[name]), 2),
            "largest": largest[name],
            "mean": round(mean[name], 3),
        }
        for name in ways
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11, help="runs of each way on each image")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways, extra = dict(WAYS), torchcodec()
    if isinstance(extra, str):
        print(f"torchcodec is left out: {extra}")
    else:
        ways["torchcodec, torch"] = extra
    results = {}
    for height, width in SIZES:
        files = [photograph(height, width, seed) for seed in range(3)]
        bits = 8 * sum(map(len, files)) / len(files) / (height * width)
        for target, size in (("fixed", (224, 224)), ("native", native_size(height, width, 16, 16, 1024))):
            print(f"{width}x{height}, {bits:.2f} bits a pixel, to {size[1]}x{size[0]} ({target})")
            found = results[f"{width}x{height} {target}"] = measure(ways, files, size, args.repeats)
            for name, row in found.items():
                print(f"  {name:20} {row}")
    capability = torch.backends.cpu.get_cpu_capability()
    versions = {"torch": version("torch"), "pillow": version("pillow"), "simplejpeg": version("simplejpeg")}
    print(json.dumps({**versions, "capability": capability, "repeats": args.repeats, **results}))


if __name__ == "__main__":
    main()
