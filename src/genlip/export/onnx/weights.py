"""Weights: ONNX graphs that share weights, saved with one copy of them.

In: graphs of `onnx_ir`, by name. Out: `<name>.onnx` files that refer to one `weights.bin` beside them. Equal arrays are
found by content, not by name, since converters and quantisers choose different names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genlip.extras import require

__all__ = ["GRAPHS", "save_sharing_weights"]

GRAPHS = ("encoder", "prefill", "step")
_WEIGHTS = "weights.bin"
_SMALLEST = 1024  # bytes; runtimes expect shapes and other small constants in the graph itself


def save_sharing_weights(graphs: Mapping[str, Any], folder: Path) -> None:
    """Write some of `GRAPHS`, with each of their arrays stored once. The 2 GB limit of protobuf does not apply."""
    ir = require("onnx_ir", extra="onnx")
    for name in GRAPHS:  # a graph of an older export would read the new weights at wrong offsets
        (folder / f"{name}.onnx").unlink(missing_ok=True)
    initialisers = [value for model in graphs.values() for value in model.graph.initializers.values()]
    large = [value for value in initialisers if value.const_value.nbytes >= _SMALLEST]
    contents = [_content(value.const_value) for value in large]
    different = {content: value.const_value for content, value in zip(contents, large, strict=True)}
    stored = ir.external_data.convert_tensors_to_external([*different.values()], folder, _WEIGHTS)
    place = dict(zip(different, stored, strict=True))
    for content, value in zip(contents, large, strict=True):
        value.const_value = place[content]
    for name, model in graphs.items():
        ir.save(model, folder / f"{name}.onnx")


def _content(tensor: Any) -> tuple[Any, ...]:
    """Type, shape and a digest of the bytes: equal for two arrays exactly if their contents are equal."""
    return tensor.dtype, tuple(tensor.shape), hashlib.sha256(np.ascontiguousarray(tensor.numpy()).data).digest()
