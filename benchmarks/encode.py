"""How much of this machine's matrix-product rate does encoding reach?

Times `model.encode` of a 12-layer, 384-wide model on 16 images of 196 patches, float32, and the matrix products of its own
shapes in the same run. Work counted for the share: 2 x the parameters of the trunk's matrices x patches; patch embedding,
attention scores and all else count as time, not as work.

    python benchmarks/encode.py [--repeats 15] [--threads 2]

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

IMAGES = 16


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="timed calls; the median counts (default 15)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    model = GenLIP(CONFIG).eval()
    rng = np.random.default_rng(0)
    pack = Pack.of([example_image(rng) for _ in range(IMAGES)])
    rate = matrix_rate(pack.num_rows)
    model.encode(pack), model.encode(pack), rate()  # warm-up
    calls, rates = [], []
    for _ in range(args.repeats):  # interleaved, so that a noisy machine disturbs both alike
        calls.append(seconds(lambda: model.encode(pack)))
        rates.append(rate())
    call, products = statistics.median(calls), statistics.median(rates)
    work = 2 * sum(w.numel() for w in trunk_matrices(model)) * pack.num_rows
    print(f"call {call:.3f} s (from {min(calls):.3f} to {max(calls):.3f}), products {products / 1e9:.1f} GFLOP/s")
    result = {
        "images_per_s": round(IMAGES / call, 2),
        "share_of_matrix_rate": round(work / call / products, 4),
        "matrix_gflops": round(products / 1e9, 2),
        "call_s": round(call, 4),
        "rows": pack.num_rows,
        **machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
