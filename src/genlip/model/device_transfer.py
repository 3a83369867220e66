"""Transfer of small arrays to a device, without synchronisation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["on_device"]


def on_device(numbers: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """The same numbers on the device.

    A copy from ordinary memory waits until CUDA has finished all queued work; a copy from page-locked memory does not.
    """
    here = torch.from_numpy(numbers) if isinstance(numbers, np.ndarray) else numbers
    if device.type == "cuda" and here.device.type == "cpu":
        return here.pin_memory().to(device, non_blocking=True)
    return here.to(device)
