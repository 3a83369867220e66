"""How much of this machine's matrix-product rate does a training step reach?

Times whole updates (forward, backward, clipping, AdamW) of a 12-layer, 384-wide model on a pack of 16 samples of 196
patches and 40 to 110 caption tokens, and the matrix products of its own shapes in the same run. Work counted for the
share: 6 x the parameters of the trunk's matrices x tokens (patches and text); the head, attention scores and all else
count as time, not as work.

    python benchmarks/train_step.py [--steps 7] [--threads 2]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample
from genlip.train.memory import keep_freed_memory

SAMPLES, GRID, CAPTION = 16, (14, 14), (40, 110)
CONFIG = GenLIPConfig(
    hidden_size=384,
    intermediate_size=1024,
    num_hidden_layers=12,
    num_attention_heads=6,
    vocab_size=8192,
)


def example_pack(rng: np.random.Generator) -> Pack:
    """Random pixels and tokens of the benchmark's shapes."""

    def sample() -> Sample:
        ids = rng.integers(CONFIG.vocab_size, size=rng.integers(CAPTION[0], CAPTION[1] + 1))
        pixels = rng.integers(256, size=(GRID[0] * GRID[1], CONFIG.patch_dim), dtype=np.uint8)
        return Sample(pixels, GRID).with_text(ids)

    return Pack.of([sample() for _ in range(SAMPLES)])


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def matrix_rate(rows: int) -> Callable[[], float]:
    """A measurement of the best FLOP/s over the trunk's own matrix shapes, multiplied alone."""
    width, hidden = CONFIG.hidden_size, CONFIG.intermediate_size
    shapes = [(width, width), (width, 2 * width), (width, hidden), (hidden, width)]
    operands: list[tuple[Tensor, Tensor]] = [(torch.randn(rows, k), torch.randn(n, k)) for k, n in shapes]

    def best() -> float:
        rates = []
        for x, weight in operands:
            took = min(seconds(lambda x=x, w=weight: torch.nn.functional.linear(x, w)) for _ in range(5))
            rates.append(2 * x.numel() * weight.shape[0] / took)
        return max(rates)

    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7, help="timed steps; the median counts (default 7)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    model = GenLIP(CONFIG).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    pack = example_pack(np.random.default_rng(0))
    rate = matrix_rate(pack.num_rows)

    def update() -> None:
        optimizer.zero_grad()
        (model(pack) / int(pack.supervised.sum())).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    update(), update(), rate()  # warm-up
    steps, rates = [], []
    for _ in range(args.steps):  # interleaved, so that a noisy machine disturbs both alike
        steps.append(seconds(update))
        rates.append(rate())
    step, products = statistics.median(steps), statistics.median(rates)
    matrices = sum(p.numel() for block in model.blocks for p in block.parameters() if p.dim() == 2)
    work = 6 * matrices * pack.num_rows
    print(f"step {step:.3f} s (from {min(steps):.3f} to {max(steps):.3f}), products {products / 1e9:.1f} GFLOP/s")
    result = {
        "samples_per_s": round(SAMPLES / step, 3),
        "share_of_matrix_rate": round(work / step / products, 4),
        "matrix_gflops": round(products / 1e9, 2),
        "step_s": round(step, 4),
        "rows": pack.num_rows,
        "trunk_matrix_parameters": matrices,
        "threads": args.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
