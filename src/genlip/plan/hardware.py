"""Hardware: rates and memory of accelerators from data sheets, and of this processor by measurement.

In: a name. Out: a `Hardware`. Rates are those of dense matrix products, without the doubling "with sparsity" of data sheets.
Memory is the amount that the driver reports. Real training reaches only a share of these rates.

Sources: NVIDIA's data sheets "A100 Tensor Core GPU" (80 GB SXM), "H100 Tensor Core GPU" and "H200 Tensor Core GPU" (SXM),
"L40S" and "HGX B200"; for the RTX 4090 the white paper "NVIDIA Ada GPU Architecture" (bfloat16 with float32 sums). Link
rates are those of one direction: NVLink if there is one, else PCIe 4.0 x16.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from genlip.suggestions import did_you_mean
from genlip.train.precision import matrix_rate

__all__ = ["GPUS", "HARDWARE", "Hardware", "find_hardware", "measure_cpu"]


@dataclass(frozen=True)
class Hardware:
    """One accelerator.

    Attributes:
        name: as on the command line.
        bfloat16: dense matrix rate, in FLOP/s.
        float32: the same for float32 products (no TF32).
        memory: in bytes.
        memory_bandwidth: in bytes/s.
        link: bytes/s in one direction to the other accelerators of its node.
    """

    name: str
    bfloat16: float
    float32: float
    memory: float
    memory_bandwidth: float
    link: float


_T, _G, _GIB = 1e12, 1e9, 2.0**30
GPUS = {
    gpu.name: gpu
    for gpu in (
        Hardware("a100", 312 * _T, 19.5 * _T, 80 * _GIB, 2039 * _G, 300 * _G),
        Hardware("h100", 989.4 * _T, 66.9 * _T, 79.6 * _GIB, 3350 * _G, 450 * _G),
        Hardware("h200", 989.4 * _T, 66.9 * _T, 140.4 * _GIB, 4800 * _G, 450 * _G),
        Hardware("b200", 2250 * _T, 75 * _T, 179 * _GIB, 7700 * _G, 900 * _G),
        Hardware("l40s", 362 * _T, 91.6 * _T, 45 * _GIB, 864 * _G, 32 * _G),
        Hardware("rtx4090", 165.2 * _T, 82.6 * _T, 24 * _GIB, 1008 * _G, 32 * _G),
    )
}
HARDWARE = (*GPUS, "cpu")


def find_hardware(name: str) -> Hardware:
    """The accelerator of this name; `cpu` is measured, which takes a second. Raises ValueError for an unknown name."""
    if name not in HARDWARE:
        raise ValueError(f"unknown gpu {name!r}: the table holds {', '.join(HARDWARE)}{did_you_mean(name, HARDWARE)}")
    return measure_cpu() if name == "cpu" else GPUS[name]


def measure_cpu() -> Hardware:
    """Rates of this processor with PyTorch's current number of threads: matrix products, and copies in memory."""
    device, block = torch.device("cpu"), torch.zeros(16 * 2**20)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        block.clone()
        times.append(time.perf_counter() - start)
    bandwidth = 2 * block.nbytes / min(times)  # read and written
    return Hardware(
        name="cpu",
        bfloat16=matrix_rate(device, "bfloat16"),
        float32=matrix_rate(device, "float32"),
        memory=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        memory_bandwidth=bandwidth,
        link=bandwidth / 2,  # processes of one machine communicate through its memory
    )
