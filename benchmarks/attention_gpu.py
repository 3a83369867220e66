"""The attention backends on a GPU: forward and backward of one layer over full packs, and how near each is to the reference.

    python benchmarks/attention_gpu.py [--rows 16384] [--heads 16] [--width 64] [--repeats 20]

Packs as in stage 1 (196 patches, about 75 tokens each) and stage 2 (16 to 1,024 patches, tokens up to half as many), filled
up to exactly --rows. Times are medians of --repeats runs, after two that warm up and compile. Rates count the products
that the mask leaves: 4 h d per query and key that it sees, and 2.5 times that for the backward pass.
The last line is JSON.

No figures stand beside it yet; `gpu.py` runs it as its step `rates`. `--device cpu --rows 2048` shows that it runs, with
`sdpa` alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genlip.model.attention import BACKENDS, PackAttention
from genlip.model.attention_choice import disagreement, resolve_attention
from genlip.model.pack import Pack, Sample

COMPARED = ("varlen", "flex", "sdpa")


Shape = tuple[int, int, int]  # rows and columns of patches, text tokens


def stage_1_shape(chance: random.Random) -> Callable[[], Shape]:
    """Equal images, captions of 50 to 100 tokens."""
    return lambda: (14, 14, chance.randint(50, 100))


def stage_2_shape(chance: random.Random) -> Callable[[], Shape]:
    """Images of any size and shape, longer captions."""

    def shape() -> Shape:
        height, width = chance.randint(4, 32), chance.randint(4, 32)
        return height, width, chance.randint(height * width // 4, height * width // 2)

    return shape


def stage_1(rows: int) -> Pack:
    """A pack of stage 1."""
    return packed(rows, stage_1_shape(random.Random(1)))


def stage_2(rows: int) -> Pack:
    """A pack of stage 2."""
    return packed(rows, stage_2_shape(random.Random(2)))


def packed(rows: int, shape: Callable[[], Shape]) -> Pack:
    """Samples of such shapes until the next one would not fit, and a tail."""
    samples = [Sample(torch.zeros(h * w, 1), (h, w), [0] * text, [True] * text) for h, w, text in fitting(rows, shape)]
    return Pack.of(samples).padded(rows)


def fitting(rows: int, shape: Callable[[], Shape]) -> list[Shape]:
    """Shapes as drawn, until the next one would not fit into so many rows."""
    shapes: list[Shape] = []
    while (size := (drawn := shape())[0] * drawn[1] + drawn[2]) <= rows:
        shapes.append(drawn)
        rows -= size
    if not shapes:
        raise SystemExit(f"a pack of {rows} rows holds no sample: raise it to 2048 or more")
    return shapes


def visible_pairs(pack: Pack) -> int:
    """How many keys all queries of a pack see together."""
    shapes = zip(pack.patch_counts, pack.text_lengths, strict=True)
    return sum(patches * patches + text * patches + text * (text + 1) // 2 for patches, text in shapes)


def milliseconds(pack: Pack, backend: str, qkv: list[Tensor], repeats: int) -> float:
    """Median of forward and backward; preparing the pack's lengths or masks is left out, all layers share it."""
    attend, upstream = PackAttention(pack, backend), torch.ones_like(qkv[0])
    wait = torch.cuda.synchronize if qkv[0].is_cuda else lambda: None

    def once() -> float:
        wait()
        start = time.perf_counter()
        torch.autograd.grad(attend(0, *qkv), qkv, upstream)
        wait()
        return (time.perf_counter() - start) * 1e3

    once(), once()
    return statistics.median(once() for _ in range(repeats))


def preparation(pack: Pack, backend: str, qkv: list[Tensor]) -> float:
    """Milliseconds that the first layer of a pack takes longer than the others: lengths, order, masks."""
    times = []
    for _ in range(5):
        attend = PackAttention(pack.clone(), backend)
        start = time.perf_counter()
        for _ in range(2):
            attend(0, *(x.detach() for x in qkv))
            if qkv[0].is_cuda:
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
    return statistics.median(times[::2]) - statistics.median(times[1::2])


def measure(pack: Pack, backend: str, heads: int, width: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """One layer with this backend over a pack, in bfloat16; or why it cannot run."""
    try:
        resolve_attention(backend, device, torch.bfloat16, width)
    except ValueError as error:
        return {"not_run": str(error)}
    shape = (pack.num_rows, heads, width)
    qkv = [torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    ms = milliseconds(pack, backend, qkv, repeats)
    return {
        "samples": len(pack.grids),
        "ms": round(ms, 3),
        "tflops": round(3.5 * 4 * heads * width * visible_pairs(pack) / ms / 1e9, 1),
        "prepare_ms": round(preparation(pack, backend, qkv), 3),
        "strays": round(disagreement(BACKENDS[backend], device, torch.bfloat16, width), 4),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--width", type=int, default=64, help="dimension of a head; the published L/16 has 72")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    results = []
    for stage, make in (("stage 1", stage_1), ("stage 2", stage_2)):
        pack = make(args.rows).to(device)
        for backend in COMPARED:
            found = measure(pack, backend, args.heads, args.width, device, args.repeats)
            results.append({"pack": stage, "backend": backend, **found})
            print(results[-1])
    print(json.dumps({"device": name, "torch": torch.__version__, **vars(args), "results": results}))


if __name__ == "__main__":
    main()
