"""How close does generation come to the bound set by its matrix-vector products, and what does a batch gain?

Times greedy captions of a 12-layer, 384-wide model, float32: one image, then 16 at once, 196 patches each. The bound for one
image is one pass over all weights that a token reads (the trunk's matrices and the language head), each multiplied with a
vector by `torch.nn.functional.linear`, in the order of the model, measured in the same run. Times of a token leave out
reading the image: they are the difference between long and short captions.

    python benchmarks/generate.py [--tokens 64] [--repeats 9] [--threads 2]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from shapes import CONFIG, example_image, machine, seconds, trunk_matrices

from genlip.model.decoding import Decoding
from genlip.model.generation import generate
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack

BATCH, SHORT = 16, 4


def token_seconds(model: GenLIP, pack: Pack, tokens: int) -> float:
    """Seconds for one more token of every image of the pack."""
    short, long = (seconds(lambda n=n: generate(model, pack, Decoding(max_tokens=n))) for n in (SHORT, SHORT + tokens))
    return (long - short) / tokens


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=64, help="timed tokens of a caption (default 64)")
    parser.add_argument("--repeats", type=int, default=9, help="timed captions; the median counts (default 9)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = GenLIP(CONFIG).eval()
    rng = np.random.default_rng(0)
    images = [example_image(rng) for _ in range(BATCH)]
    one, many = Pack.of(images[:1]), Pack.of(images)
    weights = [*trunk_matrices(model), model.lm_head.weight]
    vectors = {w.shape[1]: torch.randn(1, w.shape[1]) for w in weights}

    def products() -> float:
        return seconds(lambda: [F.linear(vectors[w.shape[1]], w) for w in weights])

    times: dict[str, list[float]] = {"products": [], "one": [], "many": []}
    for _ in range(args.repeats + 1):  # interleaved, so that a noisy machine disturbs all alike
        times["products"].append(statistics.median(products() for _ in range(args.tokens)))
        times["one"].append(token_seconds(model, one, args.tokens))
        times["many"].append(token_seconds(model, many, args.tokens))
    bound, single, batch = (statistics.median(taken[1:]) for taken in times.values())  # the first warms up
    print(f"a token: products {bound * 1e3:.2f} ms, one image {single * 1e3:.2f} ms, {BATCH} images {batch * 1e3:.2f} ms")
    result = {
        "share_of_products": round(bound / single, 4),
        "batch_gain": round(BATCH * single / batch, 3),
        "tokens_per_s_one": round(1 / single, 1),
        "tokens_per_s_many": round(BATCH / batch, 1),
        "products_ms": round(bound * 1e3, 3),
        **machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
