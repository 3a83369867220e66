"""Machine: on what something was measured, and how much memory it took.

In: a device. Out: the processor or accelerator with its system, the versions of the libraries that matter, bytes.
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
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

__all__ = ["machine", "memory", "versions"]


def machine(device: torch.device) -> str:
    """Accelerator, or processor and threads, and the system."""
    system = f"{platform.system()} {platform.machine()}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {system}"
    return f"{_processor()}, {torch.get_num_threads()} threads, {system}"


def memory(device: torch.device) -> int:
    """The most memory that this process has used at once, in bytes: tensors on an accelerator, else all that it had in RAM.

    0 where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, others KiB


def versions() -> dict[str, str]:
    """Versions by name; PyTorch's says which build it is."""
    libraries = {name: version(name) for name in ("numpy", "pillow", "tokenizers")}
    return {"genlip": genlip.__version__, "python": platform.python_version(), "torch": torch.__version__, **libraries}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
