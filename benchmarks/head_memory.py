"""Peak memory of a training step at the published vocabulary of 151,936 tokens, with and without fused logits.

Each variant runs in a process of its own, whose peak resident memory the system reports: a forward and backward pass of a
2-layer, 384-wide model over 16 samples of 196 patches and 40 to 110 caption tokens.

    fused     the objective of this package: logits for a chunk of rows at a time
    pytorch   torch.nn.functional.linear_cross_entropy, chunked
    plain     logits of all rows, then cross_entropy

    python benchmarks/head_memory.py [--precision float32]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.objective import caption_loss
from genlip.model.pack import Pack, Sample

CONFIG = GenLIPConfig(
    hidden_size=384, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=6, vocab_size=151_936
)


def fused(model: GenLIP, pack: Pack, hidden: Tensor) -> Tensor:
    """This package."""
    return caption_loss(hidden, model.lm_head.weight, pack.token_ids, pack.supervised)


def pytorch(model: GenLIP, pack: Pack, hidden: Tensor) -> Tensor:
    """PyTorch's chunked version."""
    options = torch.nn.LinearCrossEntropyOptions()
    weight = model.lm_head.weight.to(hidden.dtype)
    return F.linear_cross_entropy(hidden, weight, pack.token_ids, reduction="sum", options=options)


def plain(model: GenLIP, pack: Pack, hidden: Tensor) -> Tensor:
    """All logits at once."""
    return F.cross_entropy(model.lm_head(hidden), pack.token_ids, reduction="sum")


VARIANTS = {function.__name__: function for function in (fused, pytorch, plain)}


def example_pack() -> Pack:
    """16 samples of the benchmark's shapes."""
    rng = np.random.default_rng(0)
    patches = [rng.integers(256, size=(196, CONFIG.patch_dim), dtype=np.uint8) for _ in range(16)]
    return Pack.of(
        [Sample(p, (14, 14)).with_text(rng.integers(CONFIG.vocab_size, size=rng.integers(40, 111))) for p in patches]
    )


def peak_mib() -> float:
    """Most resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(variant: str, precision: str) -> dict[str, float]:
    """Memory and time of a step, the loss to compare, in this process."""
    torch.manual_seed(0)
    model, pack = GenLIP(CONFIG), example_pack()
    for parameter in model.parameters():  # gradients belong to every variant alike
        parameter.grad = torch.zeros_like(parameter)
    before, took = peak_mib(), []
    for _ in range(3):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            hidden = model.predictions(pack)
            if precision == "bfloat16":
                hidden = hidden.bfloat16()
            loss = VARIANTS[variant](model, pack, hidden)
        loss.backward()
        took.append(time.perf_counter() - start)
    return {
        "peak_mib": round(peak_mib()),
        "above_model_mib": round(peak_mib() - before),
        "step_s": round(sorted(took)[1], 3),
        "loss": round(float(loss), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--variant", choices=tuple(VARIANTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        print(json.dumps(measure(args.variant, args.precision)))
        return
    results = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--variant", variant, "--precision", args.precision]
        results[variant] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{variant:8} {results[variant]}")
    print(json.dumps({"precision": args.precision, "torch": torch.__version__, **results}))


if __name__ == "__main__":
    main()
