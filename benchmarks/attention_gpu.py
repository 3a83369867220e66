"""The attention backends on a GPU: forward and backward of one layer over full packs, and how near each is to the reference.

    python benchmarks/attention_gpu.py [--rows 16384] [--heads 16] [--width 64] [--repeats 20]

Packs as in stage 1 (196 patches, about 75 tokens each) and stage 2 (16 to 1,024 patches, tokens up to half as many), filled
up to exactly --rows. Times are medians of --repeats runs, after two that warm up and compile. Rates count the products
that the mask leaves: 4 h d per query and key that it sees, and 2.5 times that for the backward pass.
The last line is JSON.

Not yet run on a GPU, so no figures stand beside it. `--device cpu --rows 2048` shows that it runs, with `sdpa` alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from genlip.model.attention import BACKENDS, PackAttention
from genlip.model.attention_choice import disagreement, resolve_attention
from genlip.model.pack import Pack, Sample

COMPARED = ("varlen", "flex", "sdpa")


def stage_1(rows: int) -> Pack:
    """Equal images, captions of 50 to 100 tokens."""
    chance = random.Random(1)
    return packed(rows, lambda: (14, 14, chance.randint(50, 100)))


def stage_2(rows: int) -> Pack:
    """Images of any size and shape, longer captions."""
    chance = random.Random(2)

    def shape() -> tuple[int, int, int]:
        height, width = chance.randint(4, 32), chance.randint(4, 32)
        return height, width, chance.randint(height * width // 4, height * width // 2)

    return packed(rows, shape)


def packed(rows: int, shape: Callable[[], tuple[int, int, int]]) -> Pack:
    """Samples of such shapes until the next one would not fit, and a tail."""
    samples, left = [], rows
    while (size := (drawn := shape())[0] * drawn[1] + drawn[2]) <= left:
        samples.append(Sample(torch.zeros(drawn[0] * drawn[1], 1), drawn[:2], [0] * drawn[2], [True] * drawn[2]))
        left -= size
    if not samples:
        raise SystemExit(f"--rows {rows} holds no sample: raise it to 2048 or more")
    return Pack.of(samples).padded(rows)


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--width", type=int, default=64, help="dimension of a head; the published L/16 has 72")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    device, dtype = torch.device(args.device), torch.bfloat16
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    results = []
    for stage, make in (("stage 1", stage_1), ("stage 2", stage_2)):
        pack = make(args.rows).to(device)
        shape = (pack.num_rows, args.heads, args.width)
        qkv = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3)]
        products = 3.5 * 4 * args.heads * args.width * visible_pairs(pack)
        for backend in COMPARED:
            try:
                resolve_attention(backend, device, dtype, args.width)
            except ValueError as error:
                print(error)
                continue
            ms = milliseconds(pack, backend, qkv, args.repeats)
            results.append(
                {
                    "pack": stage,
                    "samples": len(pack.grids),
                    "backend": backend,
                    "ms": round(ms, 3),
                    "tflops": round(products / ms / 1e9, 1),
                    "prepare_ms": round(preparation(pack, backend, qkv), 3),
                    "strays": round(disagreement(BACKENDS[backend], device, dtype, args.width), 4),
                }
            )
            print(results[-1])
    print(json.dumps({"device": name, "torch": torch.__version__, **vars(args), "results": results}))


if __name__ == "__main__":
    main()
