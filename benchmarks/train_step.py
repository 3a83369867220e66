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
import statistics

import numpy as np
import torch
from shapes import CONFIG, example_image, machine, matrix_rate, seconds, trunk_matrices

from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack
from genlip.train.malloc import keep_freed_memory

SAMPLES, CAPTION = 16, (40, 110)


def example_pack(rng: np.random.Generator) -> Pack:
    """Random pixels and tokens of the benchmark's shapes."""
    return Pack.of([example_image(rng, int(rng.integers(CAPTION[0], CAPTION[1] + 1))) for _ in range(SAMPLES)])


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
    matrices = sum(weight.numel() for weight in trunk_matrices(model))
    work = 6 * matrices * pack.num_rows
    print(f"step {step:.3f} s (from {min(steps):.3f} to {max(steps):.3f}), products {products / 1e9:.1f} GFLOP/s")
    result = {
        "samples_per_s": round(SAMPLES / step, 3),
        "share_of_matrix_rate": round(work / step / products, 4),
        "matrix_gflops": round(products / 1e9, 2),
        "step_s": round(step, 4),
        "rows": pack.num_rows,
        "trunk_matrix_parameters": matrices,
        **machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
