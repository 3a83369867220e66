"""Fingerprint of a tokenizer: results in nats per token compare only among models of one tokenizer."""

from __future__ import annotations

import hashlib
import json

from tokenizers import Tokenizer

__all__ = ["tokenizer_fingerprint"]


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """16 hexadecimal digits; tokenizers with the same ones split texts into the same tokens.

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
