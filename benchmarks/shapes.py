"""What the benchmarks of speed share: one model, its images and captions, the clock, and the machine's matrix-product rate.

In: numbers of rows. Out: seconds and FLOP/s. The model is small enough for two cores and large enough to have the shapes of
a vision transformer: 12 layers, 384 wide, images of 14 x 14 patches.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.pack import Sample

CONFIG = GenLIPConfig(
    hidden_size=384,
    intermediate_size=1024,
    num_hidden_layers=12,
    num_attention_heads=6,
    vocab_size=8192,
)
GRID = (14, 14)


def example_image(rng: np.random.Generator, tokens: int = 0) -> Sample:
    """Random pixels and so many random tokens."""
    pixels = rng.integers(256, size=(GRID[0] * GRID[1], CONFIG.patch_dim), dtype=np.uint8)
    return Sample(pixels, GRID).with_text(rng.integers(CONFIG.vocab_size, size=tokens))


def trunk_matrices(model: GenLIP) -> list[Tensor]:
    """The weight of every matrix product in the blocks, in order."""
    return [p.detach() for block in model.blocks for p in block.parameters() if p.dim() == 2]


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
            took = min(seconds(lambda x=x, w=weight: F.linear(x, w)) for _ in range(5))
            rates.append(2 * x.numel() * weight.shape[0] / took)
        return max(rates)

    return best


def machine() -> dict[str, object]:
    """What a figure depends on besides the code."""
    return {"threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine()}
