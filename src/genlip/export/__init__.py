"""Export: a GenLIP for other libraries. One file or folder for each library; importing this package imports none of them.

In: a model's folder, or an id on the Hub. Out: a folder that Transformers, timm, ONNX Runtime or any reader of the published
layout can read. `tests/export` checks each conversion against the model itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["FORMATS", "export_model"]

FORMATS = ("published", "transformers", "timm", "onnx")


def export_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    to: str,
    *,
    dtype: torch.dtype | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    remote_code: bool = False,
    captions: bool = True,
    int8: bool = False,
) -> Path:
    """Write a model's folder for another library.

    to           one of `FORMATS`
    dtype        of the weights; None keeps the stored one. For "published" and "transformers".
    tokenizer    a tokenizer.json, folder or Hub id, if the model's folder has none. For "transformers" and "onnx".
    remote_code  add the code, for `trust_remote_code=True` where genlip is not installed. For "transformers".
    captions     also export the captioner, not only the encoder. For "onnx".
    int8         store the weights of matrix products in 8 bits. For "onnx".

    Raises ValueError for a format or an option that does not fit, `CheckpointError` if `model` is not a model, and
    `MissingExtra` if the library is not installed.
    """
    given = {"dtype": dtype, "tokenizer": tokenizer, "remote_code": remote_code, "captions": not captions, "int8": int8}
    _check(to, [name for name, value in given.items() if value])
    if to == "published":
        from genlip.export.published import export_published

        return export_published(model, out, dtype=dtype)
    if to == "transformers":
        from genlip.export.transformers import export_transformers

        return export_transformers(model, out, dtype=dtype, remote_code=remote_code, tokenizer=tokenizer)
    if to == "timm":
        from genlip.export.timm import export_timm

        return export_timm(model, out)
    from genlip.export.onnx import export_onnx_folder

    return export_onnx_folder(model, out, captions=captions, int8=int8, tokenizer=tokenizer)


_OPTIONS = {
    "published": ("dtype",),
    "transformers": ("dtype", "tokenizer", "remote_code"),
    "timm": (),
    "onnx": ("tokenizer", "captions", "int8"),
}


def _check(to: str, given: list[str]) -> None:
    """Refuse options that this format would ignore."""
    if to not in _OPTIONS:
        raise ValueError(f"unknown format {to!r}: the formats are {', '.join(FORMATS)}")
    if unknown := [name for name in given if name not in _OPTIONS[to]]:
        raise ValueError(f"{', '.join(unknown)} has no meaning for {to}; it takes {', '.join(_OPTIONS[to]) or 'no options'}")
