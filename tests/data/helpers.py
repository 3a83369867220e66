"""What the tests of data share: images as files, a small tokenizer, a small model, and a source in memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, features
from tokenizers import Tokenizer

from genlip.data.captions import train_tokenizer
from genlip.data.examples import Caption, Example
from genlip.data.sources import Source, open_source
from genlip.model.config import GenLIPConfig

# What a message says of the formats that are read.
READ = "(formats read: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM" + (", AVIF)" if features.check("avif") else ")")


def examples(number: int) -> settings:
    """So many examples, however slow the machine is."""
    return settings(max_examples=number, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """UInt8[H, W, C] random pixels; [H, W] for one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The bytes of a file that holds an image."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, scanlines: bytes) -> bytes:
    """A PNG by hand; `scanlines` are the filter byte 0 and the samples of each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b"")]
    framed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def small_config(**changes: Any) -> GenLIPConfig:
    """A model of 8x8 patches and 300 token ids."""
    small = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    return GenLIPConfig(**{**small, "vocab_size": 300, "patch_size": 8, **changes})


def small_tokenizer() -> Tokenizer:
    """290 tokens, learned from a few captions."""
    corpus = ["a small red circle on the left and the number 47", "a large blue square on the right and the number 90"]
    return train_tokenizer(corpus, 290)


@dataclass(frozen=True)
class InMemory:
    """A source of examples at hand."""

    examples: Sequence[Example]
    name: str = "memory"

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def caption(self, index: int) -> Caption:
        return self.examples[index].caption


def numbered(length: int, name: str = "numbers") -> InMemory:
    """Examples without images, whose keys and captions count them."""
    return InMemory([Example(f"{name} {i}", b"", f"number {i} of {name}") for i in range(length)], name)


def held(source: Source) -> list[tuple[Any, Caption]]:
    """(image, caption) of every example of a source, whose captions are the same without the image."""
    assert [source.caption(i) for i in range(len(source))] == [source[i].caption for i in range(len(source))]
    return [(source[i].image, source[i].caption) for i in range(len(source))]


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    """A file with a text, in folders that are made for it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def refusal(spec: str | Path, fields: str = "", kind: type[Exception] = ValueError) -> str:
    """What is said of a source that cannot be opened."""
    with pytest.raises(kind) as error:
        open_source(str(spec), fields)
    return str(error.value)
