"""Fingerprint: which weights a model has, for what is kept on disk of what it saw and said."""

from __future__ import annotations

import hashlib

import torch

from genlip.model.genlip import GenLIP

__all__ = ["weights_fingerprint"]


def weights_fingerprint(model: GenLIP, beginnings: tuple[str, ...] = ("",)) -> str:
    """Of the weights, bit by bit: a model that was trained further under the same name has another one.

    beginnings  of the names that count; all by default
    """
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(beginnings):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
