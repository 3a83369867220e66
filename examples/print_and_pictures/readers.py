"""Readers of single lines: this model, and those of others that are installed.

In: images of lines. Out: their texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

LANGUAGES = ("eng", "deu", "fra", "spa", "ita")
_ENLARGED = 48  # pixels of a line for Tesseract, whose documentation asks for capitals of 20 to 30 pixels


class Reader(NamedTuple):
    """A reader: its name, what tells its versions apart, and the function that reads."""

    name: str
    version: str
    read: Callable[[Sequence[Image.Image]], list[str]]


def available(model: str) -> list[Reader]:
    """The readers that can be used here; `model` is a folder of genlip, or empty."""
    readers = [genlip_reader(model)] if model else []
    if shutil.which("tesseract"):
        listed = _output("tesseract", "--list-langs").split()
        readers += [
            tesseract_reader("tesseract", True),
            tesseract_reader("tesseract-as-is", False),
            tesseract_reader("tesseract-languages", True, [name for name in LANGUAGES if name in listed]),
        ]
    with contextlib.suppress(ImportError):
        readers.append(rapidocr_reader())
    return readers


def genlip_reader(model: str) -> Reader:
    """Reads lines with a model of genlip."""
    import torch

    import genlip

    torch.set_num_threads(1)
    speaker = genlip.Speaker.load(model)
    weights = b"".join(value.float().numpy().tobytes() for value in speaker.model.state_dict().values())
    return Reader("genlip", hashlib.sha256(weights).hexdigest()[:8], lambda images: genlip.read_lines(speaker, images))


def tesseract_reader(name: str, enlarged: bool, languages: Sequence[str] = ("eng",)) -> Reader:
    """Reads lines with the program `tesseract`, all in one call."""

    def read(images: Sequence[Image.Image]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            names = []
            for number, image in enumerate(images):
                names.append(f"{folder}/{number}.png")
                (_for_tesseract(image) if enlarged else image).save(names[-1], compress_level=1)
            listed = Path(folder, "images.txt")
            listed.write_text("\n".join(names))
            languages_given = "+".join(languages)
            text = _output("tesseract", str(listed), "stdout", "--psm", "7", "--oem", "1", "-l", languages_given)
        pages = text.split("\f")[: len(images)]
        if len(pages) != len(images):
            raise RuntimeError(f"tesseract gave {len(pages)} texts for {len(images)} images")
        return pages

    return Reader(name, _output("tesseract", "--version").split()[1], read)


def _output(*command: str) -> str:
    one_thread = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=one_thread, check=True)
    return done.stdout


def _for_tesseract(image: Image.Image) -> Image.Image:
    size = max(1, round(image.width * _ENLARGED / image.height)), _ENLARGED
    corner = image.getpixel((0, 0))
    return ImageOps.expand(image.resize(size, Image.Resampling.BICUBIC), 10, corner)


def rapidocr_reader() -> Reader:
    """Reads lines with the recogniser of RapidOCR (PP-OCR in ONNX)."""
    from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)

    def read(images: Sequence[Image.Image]) -> list[str]:
        found, _ = engine.text_rec([np.asarray(image)[:, :, ::-1] for image in images])
        return [one[0] for one in found]

    return Reader("rapidocr", version("rapidocr-onnxruntime"), read)
