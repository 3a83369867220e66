"""What does looking at attention cost? Encoding and token losses as usual, and with every weight shown to a listener.

    python benchmarks/attention_weights.py [--repeats 15] [--threads 2]

The usual pass does not know of the other: weights come from another `attend` that `trunk` is given. The listener here does
nothing with them.
The last line is JSON: milliseconds per call, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable

import numpy as np
import torch
from shapes import CONFIG, GRID, machine, seconds
from torch import Tensor

from genlip.model.attention_weights import RecordingAttention
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.objective import caption_losses
from genlip.model.pack import Pack, Sample

QUICKSTART = GenLIPConfig(
    hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, vocab_size=384, ls_init_value=1.0
)
# model, grid of patches, tokens, images
SIZES: dict[str, tuple[GenLIPConfig, tuple[int, int], int, int]] = {
    "quickstart": (QUICKSTART, (4, 4), 22, 64),
    "12x384": (CONFIG, GRID, 75, 16),
}


def random_pack(config: GenLIPConfig, grid: tuple[int, int], tokens: int, images: int) -> Pack:
    """Images of one shape with as much text."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(images, grid[0] * grid[1], config.patch_dim), dtype=np.uint8)
    texts = rng.integers(config.vocab_size, size=(images, tokens))
    return Pack.of([Sample(one, grid).with_text(text) for one, text in zip(pixels, texts, strict=True)])


def calls(model: GenLIP, pack: Pack) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    """By name, a pass as usual and the same one heard."""
    images = pack.without_text()

    def encode_heard() -> Tensor:
        return model.ln_post(model.trunk(images, attend=RecordingAttention(images, lambda some: None)))

    def losses_heard() -> Tensor:
        told = model.trunk(pack, predicting=True, attend=RecordingAttention(pack, lambda some: None))
        return caption_losses(model.proj(model.ln_post(told)), model.lm_head.weight, pack.token_ids, pack.supervised)

    return {
        "encode": (lambda: model.encode(pack), encode_heard),
        "token_losses": (lambda: model.token_losses(pack), losses_heard),
    }


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="timed calls; the median counts (default 15)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    results: dict[str, dict[str, float]] = {}
    for size, (config, *shape) in SIZES.items():
        model = GenLIP(config).eval()
        for name, (usual, heard) in calls(model, random_pack(config, *shape)).items():
            torch.testing.assert_close(usual(), heard(), rtol=1e-3, atol=1e-4)  # warm-up, too
            times = np.array([(seconds(usual), seconds(heard)) for _ in range(args.repeats)])  # in turns
            plain, weighed = (1e3 * statistics.median(column) for column in times.T.tolist())
            results[f"{size} {name}"] = {
                "ms": round(plain, 2),
                "heard_ms": round(weighed, 2),
                "ratio": round(weighed / plain, 2),
            }
            spread = " and ".join(f"{1e3 * column.min():.1f} to {1e3 * column.max():.1f} ms" for column in times.T)
            print(f"{size} {name}: {plain:.1f} ms, heard {weighed:.1f} ms (from {spread})")
    print(json.dumps({"calls": results, "repeats": args.repeats, **machine()}))


if __name__ == "__main__":
    main()
