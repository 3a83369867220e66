"""From JPEG bytes to packs, on one core: samples a second of our pipeline beside a plain one.

    python benchmarks/data_pipeline.py [--seconds 3] [--rounds 5]

Ours: the stream of packs that a worker makes: simplejpeg, PyTorch's resize, bytes as patches, captions tokenized in batches,
packs of 16,384 rows. Plain: one sample at a time, Pillow decodes and resizes, pixels become normalised float32 patches, the
tokenizer encodes one caption, and batches of equal size are padded. At 224 x 224 pixels, and at native size of at most 1,024
patches. Both take turns on the same images; medians over rounds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from decoders import SIZES, photograph
from PIL import Image, ImageOps
from torch.nn.utils.rnn import pad_sequence

from genlip.data.captions import CaptionConfig, Captions, train_tokenizer
from genlip.data.examples import Example
from genlip.data.images import ImageConfig, native_size
from genlip.data.packing import PackingConfig, Stream
from genlip.data.samples import SampleReader
from genlip.model.config import GenLIPConfig
from genlip.synthetic import vocabulary as words
from genlip.synthetic.random_choices import RandomChoices

MODEL = GenLIPConfig(vocab_size=8192)
SIDE = MODEL.patch_size
BATCH = 32
RESIZES = {"224": ImageConfig(), "native": ImageConfig(resize="native")}


@dataclass(frozen=True)
class Photographs:
    """A source of encoded images with captions of about 80 words."""

    images: list[bytes]
    texts: list[str]
    name: str = "photographs"

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Example:
        return Example(str(index), self.images[index % len(self.images)], self.texts[index])

    def caption(self, index: int) -> str:
        """The caption alone."""
        return self.texts[index]


def ours(source: Photographs, captions: Captions, images: ImageConfig) -> Iterator[int]:
    """Samples in each pack."""
    packing = PackingConfig()
    stream = Stream(SampleReader(source, images, captions, MODEL, 0, packing.max_tokens), packing, 0)
    while True:
        yield len(stream.next_batch().keys)


def plain(source: Photographs, captions: Captions, images: ImageConfig) -> Iterator[int]:
    """Samples in each padded batch."""
    numbers = cycle(range(len(source)))
    while True:
        samples = [plain_sample(source[number], captions, images) for number in islice(numbers, BATCH)]
        for column in zip(*samples, strict=True):
            pad_sequence(list(column), batch_first=True)
        yield len(samples)


def plain_sample(example: Example, captions: Captions, images: ImageConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Float32 patches and token ids, as a first implementation makes them."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(example.image))).convert("RGB")
    height, width = images.size, images.size
    if images.resize == "native":
        height, width = native_size(image.height, image.width, SIDE, images.min_patches, images.max_patches)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    pixels = (pixels / 255 - 0.5) / 0.5
    grid = pixels.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3)
    patches = torch.from_numpy(grid.transpose(0, 2, 4, 1, 3).reshape(-1, 3 * SIDE * SIDE))
    return patches, torch.tensor(captions.prompt_ids + captions.ids(example.caption) + captions.end_ids)


def samples_per_second(batches: Iterator[int], seconds: float) -> float:
    """A rate over whole batches that take at least so long."""
    began, samples = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        samples += next(batches)
    return samples / passed


def compare(source: Photographs, captions: Captions, images: ImageConfig, rounds: int, seconds: float) -> dict[str, float]:
    """Median rates of both, and the median of their ratios, round by round."""
    running = [way(source, captions, images) for way in (ours, plain)]
    for batches in running:
        next(batches)
    rates = [[samples_per_second(batches, seconds) for batches in running] for _ in range(rounds)]
    mine, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(a / b for a, b in rates)
    return {"ours": round(mine, 1), "plain": round(theirs, 1), "ratio": round(ratio, 2)}


def main() -> None:
    """Print the rates for all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = [" ".join(words.sentence(rng) for _ in range(8)) for rng in (RandomChoices(0, seed) for seed in range(512))]
    captions = Captions(train_tokenizer(texts, MODEL.vocab_size), CaptionConfig(prompt="Describe the image in detail."))
    found: dict[str, dict[str, float]] = {}
    for height, width in SIZES:
        source = Photographs([photograph(height, width, seed) for seed in range(4)], texts)
        for name, images in RESIZES.items():
            rates = compare(source, captions, images, args.rounds, args.seconds)
            found[f"{width}x{height} to {name}"] = rates
            print(f"{width}x{height} to {name}: ours {rates['ours']}, plain {rates['plain']} samples/s, {rates['ratio']} x")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
