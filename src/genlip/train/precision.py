"""Precision: the number type of matrix products. Weights, optimizer states and the residual stream stay float32."""

from __future__ import annotations

import contextlib
import time
from typing import Literal

import torch

__all__ = ["Precision", "autocast", "matrix_rate", "resolve_precision"]

Precision = Literal["float32", "bfloat16"]


def resolve_precision(wanted: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """The precision to train in. "auto" measures it: processors are up to four times faster or slower in bfloat16."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if _product_time(torch.bfloat16) < 0.8 * _product_time(torch.float32) else "float32"


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context in which matrix products are computed in this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def matrix_rate(device: torch.device, precision: Precision, size: int = 0) -> float:
    """FLOP/s of this device in products of square matrices, the best of six; the rate of training is compared with it."""
    size = size or (8192 if device.type == "cuda" else 1024)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x, out = torch.randn(size, size, device=device, dtype=dtype), torch.empty(size, size, device=device, dtype=dtype)

    def once() -> float:
        start = time.perf_counter()
        torch.mm(x, x, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return 2 * size**3 / min(once() for _ in range(6))


def _product_time(dtype: torch.dtype, size: int = 512, repeats: int = 5) -> float:
    """Seconds of the fastest of a few square products, backward's transposed operand included."""
    x = torch.randn(size, size).to(dtype)

    def once() -> float:
        start = time.perf_counter()
        x @ x
        x.T @ x
        return time.perf_counter() - start

    once()
    return min(once() for _ in range(repeats))
