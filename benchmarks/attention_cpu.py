"""Fused attention or two batched products, on CPU: forward and backward time at the shapes of training packs.

    python benchmarks/attention_cpu.py [--repeats 7]

The last line is JSON: milliseconds per call, by precision and shape.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.attention import _by_products

# samples, heads, queries, keys, head dimension, causal: patches and captions of scenes, of stage 1 and of stage 2
SHAPES = [
    (64, 4, 16, 16, 48, False),
    (33, 4, 22, 38, 48, True),
    (16, 6, 196, 196, 64, False),
    (1, 6, 75, 271, 64, True),
    (2, 16, 576, 576, 64, False),
    (1, 16, 1024, 1024, 64, False),
]


def milliseconds(attention: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype, repeats: int) -> float:
    """Median of forward and backward."""
    samples, heads, queries, keys, width, causal = shape
    sizes = [(samples, length, heads, width) for length in (queries, keys, keys)]
    q, k, v = (torch.randn(size, dtype=dtype, requires_grad=True) for size in sizes)
    future = 1 if causal else None

    def once() -> float:
        start = time.perf_counter()
        read = attention(*(x.transpose(1, 2) for x in (q, k, v)), future)
        read.backward(torch.ones_like(read))
        return (time.perf_counter() - start) * 1e3

    once()
    return statistics.median(once() for _ in range(repeats))


def fused(q: Tensor, k: Tensor, v: Tensor, future: int | None) -> Tensor:
    """PyTorch's kernel."""
    queries, keys = q.shape[2], k.shape[2]
    visible = None if future is None else torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            times = {f.__name__.strip("_"): round(milliseconds(f, shape, dtype, repeats), 2) for f in (fused, _by_products)}
            results.append({"dtype": str(dtype).removeprefix("torch."), "shape": shape, **times})
            print(results[-1])
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "ms": results}))


if __name__ == "__main__":
    main()
