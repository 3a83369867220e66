"""Fingerprint: which weights and which tokenizer a model has, for what is kept on disk of what it saw and said."""

from __future__ import annotations

import hashlib
import json

import torch
from tokenizers import Tokenizer

from genlip.model.genlip import GenLIP

__all__ = ["tokenizer_fingerprint", "weights_fingerprint"]


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


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """Of how it cuts texts: two of the same one give the same tokens, so that losses per token can be compared.

    Special tokens do not count: an export may add one.
    """
    stored = json.loads(tokenizer.to_str())
    parts = {name: stored.get(name) for name in ("model", "normalizer", "pre_tokenizer")}
    special = set(tokenizer.get_added_tokens_decoder())
    parts["vocab"] = sorted(
        (token, i) for token, i in tokenizer.get_vocab(with_added_tokens=False).items() if i not in special
    )
    if isinstance(parts["model"].get("vocab"), dict):  # with the special tokens; a list has scores too
        del parts["model"]["vocab"]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
