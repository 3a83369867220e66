"""What do smaller numbers gain on a CPU, and what do they cost?

Encodes the same images with PyTorch in float32, bfloat16 and int8 (dynamic), and with ONNX Runtime in float32 and int8:
images a second, the size of the encoder's weights, and how the features lie beside those in float32, as the cosine of
each patch's vector. Speed depends on the machine's instructions, so it is given relative to PyTorch in float32: a round is
so many calls of every way in turn, its speeds are ratios of medians, and the median of the rounds counts. Without --model:
12 layers of width 384 with random weights, on 16 images of 196 patches. What precision costs is better read off a trained
model: --model takes the quickstart's folder, and then 500 new scenes are captioned, too, and the captions that are right
word for word are counted.

    python benchmarks/deploy.py [--model runs/quickstart/model] [--rounds 3] [--repeats 15] [--threads 2]

Needs the extra onnx. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from shapes import CONFIG, machine, seconds
from torch import Tensor

import genlip
from genlip.data.examples import plain_text
from genlip.data.images import ImageConfig
from genlip.data.packing import pack_images
from genlip.data.preprocessing import load_preprocessing
from genlip.data.sources import open_source
from genlip.export import export_model
from genlip.export.onnx import OnnxCaptioner, OnnxEncoder, export_onnx, quantize_folder
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.model.quantize import quantize_encoder
from genlip.train.malloc import keep_freed_memory

IMAGES = 16
_REST = 0.05  # seconds: threads of ONNX Runtime go on spinning after a call, in the way of whatever comes next
SCENES = 500
EXACT = "PyTorch float32"  # what all else is compared with

Times = Mapping[str, list[list[float]]]  # seconds of every call, by way and round


class Way(NamedTuple):
    """One way to encode: Float[b*N D] features of the images, and megabytes of weights."""

    encode: Callable[[], Tensor]
    megabytes: float


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="folder of a model (default: random weights)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of their speeds counts (default 3)")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each way in a round (default 15)")
    threads = torch.get_num_threads()
    parser.add_argument("--threads", type=int, default=threads, help="of PyTorch and of ONNX Runtime")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    model, images = _model(args.model)
    pack = _pack(model, images)
    with TemporaryDirectory() as folder:
        ways = _ways(model, pack, Path(folder), args.threads)
        exact = ways[EXACT].encode()
        times = _times(ways, args.rounds, args.repeats)
        rows = [_row(name, way, times, exact) for name, way in ways.items()]
        captions = _exact_captions(args.model, Path(folder), args.threads) if args.model else {}
    print(_table(rows, captions))
    about = {"patches": pack.num_patches, "model": args.model or "random", "repeats": args.repeats}
    versions = {**machine(), "onnxruntime": onnxruntime.__version__}
    print(json.dumps({"rows": rows, "captions": captions, **about, **versions}))


def _model(folder: str) -> tuple[GenLIP, ImageConfig]:
    if folder:
        return genlip.load(folder, dtype=torch.float32), load_preprocessing(folder)[0].images
    return GenLIP(CONFIG).eval(), ImageConfig()


def _pack(model: GenLIP, images: ImageConfig) -> Pack:
    """Procedural scenes, squeezed to the model's size: a trained model then sees what it knows."""
    source = open_source("scenes:1")
    fixed = ImageConfig(size=images.size if images.resize == "fixed" else 224)
    return pack_images([source[i].image for i in range(IMAGES)], fixed, model.config, [])


def _ways(model: GenLIP, pack: Pack, folder: Path, threads: int) -> dict[str, Way]:
    half, small = copy.deepcopy(model).bfloat16(), quantize_encoder(copy.deepcopy(model))
    full = OnnxEncoder(export_onnx(model, folder / "float32", captions=False), threads=threads)
    eighth = OnnxEncoder(quantize_folder(folder / "float32", folder / "int8"), threads=threads)
    pixels = _pixels(model, pack)
    weights = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("vision", "visual", "ln_post")))
    return {
        EXACT: Way(lambda: model.encode(pack), 4 * weights / 1e6),
        "PyTorch bfloat16": Way(lambda: half.encode(pack), 2 * weights / 1e6),
        "PyTorch int8 (dynamic)": Way(lambda: small.encode(pack), _state_size(small) / 1e6),
        "ONNX Runtime float32": Way(lambda: _flat(full.encode_pixels(pixels)), _size(folder / "float32")),
        "ONNX Runtime int8 (dynamic)": Way(lambda: _flat(eighth.encode_pixels(pixels)), _size(folder / "int8")),
    }


def _pixels(model: GenLIP, pack: Pack) -> np.ndarray:
    """Float32[b C H W] of the pack's bytes."""
    (rows, columns), size = pack.grids[0], model.config.patch_size
    patches = pack.patches.float().div(127.5).sub(1).view(len(pack.grids), rows, columns, -1, size, size)
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3).contiguous().numpy()


def _flat(features: np.ndarray) -> Tensor:
    return torch.from_numpy(features).flatten(0, 1)


def _state_size(model: GenLIP) -> int:
    """Bytes of the quantised blocks and of what is around them."""
    packed = [x for value in model.visual.state_dict().values() for x in (value if isinstance(value, tuple) else (value,))]
    outer = [p for name, p in model.named_parameters() if name.startswith(("vision", "ln_post"))]
    return sum(x.numel() * x.element_size() for x in [*packed, *outer] if isinstance(x, Tensor))


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".onnx", ".bin")) / 1e6


def _times(ways: Mapping[str, Way], rounds: int, repeats: int) -> Times:
    """Time every way; they take turns, so that a noisy machine disturbs all alike."""
    for way in ways.values():  # warm-up
        way.encode()
    times: dict[str, list[list[float]]] = {name: [[] for _ in range(rounds)] for name in ways}
    for number in range(rounds):
        for _ in range(repeats):
            for name, way in ways.items():
                time.sleep(_REST)
                times[name][number].append(seconds(way.encode))
    return times


def _exact_captions(model: str, folder: Path, threads: int) -> dict[str, int]:
    """How many captions of scenes that no recipe trains on are right word for word, by way."""
    source = open_source("scenes:7")
    images, captions = zip(*((source[i].image, plain_text(source[i].caption)) for i in range(SCENES)), strict=True)
    export_model(model, folder / "captions", "onnx")
    quantize_folder(folder / "captions", folder / "captions-int8")
    ways: dict[str, Any] = {
        EXACT: genlip.Speaker.load(model, dtype=torch.float32),
        "PyTorch bfloat16": genlip.Speaker.load(model, dtype=torch.bfloat16),
        "ONNX Runtime float32": OnnxCaptioner(folder / "captions", threads=threads),
        "ONNX Runtime int8 (dynamic)": OnnxCaptioner(folder / "captions-int8", threads=threads),
    }
    spoken = {name: way.caption(images, batch_size=50, max_tokens=64) for name, way in ways.items()}
    return {name: sum(map(str.__eq__, texts, captions)) for name, texts in spoken.items()}


def _row(name: str, way: Way, times: Times, exact: Tensor) -> dict[str, Any]:
    medians, bases = ([statistics.median(calls) for calls in times[key]] for key in (name, EXACT))
    calls = [*chain(*times[name])]
    took = statistics.median(calls)
    cosine = torch.cosine_similarity(way.encode().float(), exact, dim=-1)
    return {
        "way": name,
        "images_per_s": round(IMAGES / took, 2),
        "speeds": [round(base / own, 3) for base, own in zip(bases, medians, strict=True)],
        "megabytes": round(way.megabytes, 2),
        "cosine_mean": round(float(cosine.mean()), 6),
        "cosine_min": round(float(cosine.min()), 6),
        "seconds": [round(min(calls), 4), round(took, 4), round(max(calls), 4)],
    }


def _table(rows: list[dict[str, Any]], captions: Mapping[str, int]) -> str:
    """The rows in Markdown, with captions if some were counted."""
    titles = ["way", "images/s", f"speed, median of {len(rows[0]['speeds'])}", "encoder, MB", "cosine, mean", "least"]
    lines = [[*titles, *(["captions exact"] if captions else [])]]
    for row in rows:
        cosines = (f"{row[key]:.5f}" for key in ("cosine_mean", "cosine_min"))
        line = [row["way"], f"{row['images_per_s']:.1f}", _speed(row), f"{row['megabytes']:.1f}", *cosines]
        right = f"{captions[row['way']]} of {SCENES}" if row["way"] in captions else "not offered"
        lines.append([*line, *([right] if captions else [])])
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def _speed(row: Mapping[str, Any]) -> str:
    """Median and range of the rounds."""
    if row["way"] == EXACT:
        return "1"
    speeds = row["speeds"]
    return f"{statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})"


if __name__ == "__main__":
    main()
