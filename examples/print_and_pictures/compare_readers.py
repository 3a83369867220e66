"""Compare readers of single lines: character and word error rates, and lines per second on one core.

    pip install rapidfuzz
    python examples/print_and_pictures/compare_readers.py runs/print_and_pictures/measured --model runs/pocket/model

Readers: `genlip` (this model), `tesseract` (the program, if it is installed; `--psm 7`, English, lines enlarged to the size
that its documentation asks for), `tesseract-as-is` (not enlarged), `tesseract-languages` (enlarged, with all languages of
`LANGUAGES` that are installed), `rapidocr` (if `rapidocr-onnxruntime` is installed; its recogniser alone). Each reads the
same images in the same run. Quotes and dashes of all kinds are the same, and so is white space.

The error rate is the number of insertions, deletions and replacements in all lines, per character (or word) of the truth.
Intervals are of 95 %, by 1,000 bootstrap samples of the lines. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from characters import plain
from PIL import Image, ImageOps
from rapidfuzz.distance import Levenshtein

Reader = Callable[[Sequence[Image.Image]], list[str]]
LANGUAGES = ("eng", "deu", "fra", "spa", "ita")
_ENLARGED = 48  # pixels of a line for Tesseract, whose documentation asks for capitals of 20 to 30 pixels


class Sample(NamedTuple):
    """A line with its truth."""

    image: Image.Image
    text: str
    facts: dict[str, Any]


def samples(shard: Path, limit: int) -> list[Sample]:
    """The first lines of a shard; all if the limit is 0."""
    parts: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            key, _, suffix = member.name.rpartition(".")
            if key not in parts and limit and len(parts) == limit:
                break
            opened = archive.extractfile(member)
            parts.setdefault(key, {})[suffix] = opened.read() if opened else b""
    return [
        Sample(Image.open(io.BytesIO(one["png"])).convert("RGB"), one["txt"].decode("utf8"), json.loads(one["json"]))
        for one in parts.values()
    ]


def genlip_reader(model: str) -> Reader:
    """Reads lines with a model of genlip."""
    import torch

    import genlip

    torch.set_num_threads(1)
    speaker = genlip.Speaker.load(model)
    return lambda images: genlip.read_lines(speaker, images)


def tesseract_reader(enlarged: bool, languages: Sequence[str] = ("eng",)) -> Reader:
    """Reads lines with the program `tesseract`, all in one call."""

    def read(images: Sequence[Image.Image]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            names = []
            for number, image in enumerate(images):
                names.append(f"{folder}/{number}.png")
                (_for_tesseract(image) if enlarged else image).save(names[-1], compress_level=1)
            listed = Path(folder, "images.txt")
            listed.write_text("\n".join(names))
            done = subprocess.run(
                ["tesseract", str(listed), "stdout", "--psm", "7", "--oem", "1", "-l", "+".join(languages)],
                capture_output=True, text=True, errors="replace", env={**os.environ, "OMP_THREAD_LIMIT": "1"}, check=True,
            )  # fmt: skip
        pages = done.stdout.split("\f")[: len(images)]
        if len(pages) != len(images):
            raise RuntimeError(f"tesseract gave {len(pages)} texts for {len(images)} images")
        return pages

    return read


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

    return read


def available(model: str) -> dict[str, Reader]:
    """The readers that can be used here."""
    readers: dict[str, Reader] = {"genlip": genlip_reader(model)} if model else {}
    if shutil.which("tesseract"):
        listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=True).stdout.split()
        readers |= {"tesseract": tesseract_reader(True), "tesseract-as-is": tesseract_reader(False)}
        readers["tesseract-languages"] = tesseract_reader(True, [name for name in LANGUAGES if name in listed])
    with contextlib.suppress(ImportError):
        readers["rapidocr"] = rapidocr_reader()
    return readers


def edits(truth: Sequence[str], read: Sequence[str]) -> np.ndarray:
    """Int[N, 4]: edits and number of characters, edits and number of words of each line."""
    rows = []
    for true, said in zip(map(plain, truth), map(plain, read), strict=True):
        words = true.split()
        rows.append([Levenshtein.distance(true, said), len(true), Levenshtein.distance(words, said.split()), len(words)])
    return np.array(rows)


def rate(counts: np.ndarray, first: int) -> tuple[float, float, float]:
    """The error rate in percent with its interval; the columns `first` and `first + 1` are edits and units."""
    chosen = np.random.default_rng(0).integers(0, len(counts), (1000, len(counts)))
    sums = counts[chosen][:, :, first : first + 2].sum(1)
    low, high = np.percentile(100 * sums[:, 0] / sums[:, 1], [2.5, 97.5])
    whole = counts[:, first : first + 2].sum(0)
    return float(100 * whole[0] / whole[1]), float(low), float(high)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="folder of .tar files of lines, such as OUT/measured")
    parser.add_argument("--model", default="", help="a model of genlip; empty leaves it out")
    parser.add_argument("--limit", type=int, default=0, help="lines of each shard; 0 for all (default)")
    parser.add_argument("--readers", default="", help="names with commas; empty takes all that there are")
    args = parser.parse_args()
    readers = available(args.model)
    if args.readers:
        readers = {name: readers[name] for name in args.readers.split(",")}
    rows = []
    print(f"{'lines':<18} {'reader':<16} {'characters':>24} {'words':>24} {'new fonts':>24} {'lines/s':>8}", flush=True)
    for shard in sorted(args.shards.glob("*.tar")):
        some = samples(shard, args.limit)
        new = np.array([not one.facts.get("known_font", True) for one in some])
        for name, reader in readers.items():
            start = time.perf_counter()
            read = reader([one.image for one in some])
            seconds = time.perf_counter() - start
            counts = edits([one.text for one in some], read)
            of_new = rate(counts[new], 0) if new.any() else (float("nan"),) * 3
            row = {"lines": shard.stem, "reader": name, "number": len(some), "characters": rate(counts, 0)}
            row |= {"words": rate(counts, 2), "new_fonts": of_new, "lines_per_second": len(some) / seconds}
            rows.append(row)
            shown = " ".join(f"{_shown(row[key]):>24}" for key in ("characters", "words", "new_fonts"))
            print(f"{shard.stem:<18} {name:<16} {shown} {row['lines_per_second']:8.1f}", flush=True)
    print(json.dumps(rows))


def _shown(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


if __name__ == "__main__":
    main()
