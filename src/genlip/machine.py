"""Machine: a description of the hardware and software of a measurement, and the memory that it used.

In: a device. Out: the processor or accelerator with its operating system, versions of libraries, bytes.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import genlip

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["machine", "memory", "versions"]


def machine(device: torch.device) -> str:
    """Accelerator, or processor and threads, and the operating system."""
    system = f"{platform.system()} {platform.machine()}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {system}"
    return f"{_processor()}, {torch.get_num_threads()} threads, {system}"


def memory(device: torch.device) -> int:
    """Peak memory of this process in bytes: tensors on an accelerator, or all its RAM. 0 if it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, others KiB


def versions() -> dict[str, str]:
    """Versions by name; PyTorch's includes its build."""
    libraries = {name: version(name) for name in ("numpy", "pillow", "tokenizers")}
    return {"genlip": genlip.__version__, "python": platform.python_version(), "torch": torch.__version__, **libraries}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
