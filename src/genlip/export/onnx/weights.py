"""Weights: ONNX graphs that hold the same numbers, saved with one copy of them.

In: graphs of `onnx_ir`, by name. Out: `<name>.onnx` files that point into one `weights.bin` beside them. What is equal is
found by content, not by name: so it works for whatever a converter or a quantiser called it.
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
_SMALLEST = 1024  # bytes; runtimes want to see shapes and other small constants in the graph itself


def save_sharing_weights(graphs: Mapping[str, Any], folder: Path) -> None:
    """Write some of `GRAPHS`, and each array that they hold once. There is no limit of 2 GB."""
    ir = require("onnx_ir", extra="onnx")
    for name in GRAPHS:  # an older export's graph would read the new weights at its old places
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
    """Equal for two arrays exactly if they hold the same: type, shape and a digest of the bytes."""
    return tensor.dtype, tuple(tensor.shape), hashlib.sha256(np.ascontiguousarray(tensor.numpy()).data).digest()
