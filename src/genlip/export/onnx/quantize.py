"""Quantisation: an exported folder with 8-bit weights.

In: a folder that `export_onnx_folder` wrote. Out: a folder with the same file names, for the same runner. Weights of linear
layers become int8, with a scale for each output channel. Activations are quantised dynamically, so no calibration images are
needed. All images of a call share the quantisation range, so the other images of a batch may change a caption. Patch and
token embeddings, norms and attention itself stay in float32.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from genlip.export.onnx.weights import GRAPHS, save_sharing_weights
from genlip.extras import require

__all__ = ["quantize_folder"]

_SETTINGS = ("config.json", "preprocessing.json", "tokenizer.json")


def quantize_folder(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the graphs of an exported folder with int8 weights, and its settings; returns the folder `out`.

    Raises ValueError if `folder` is not an exported one or is `out`, `MissingExtra` if onnx or onnxruntime is missing.
    """
    folder, out = Path(folder), Path(out)
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out}: cannot quantise a folder into itself; name another folder")
    if not (folder / "encoder.onnx").is_file():
        raise ValueError(f"{folder}: no encoder.onnx; need a folder that `genlip export … --to onnx` wrote")
    for library in ("onnx", "onnxruntime"):
        require(library, extra="onnx")
    ir, quantization = require("onnx_ir", extra="onnx"), require("onnxruntime.quantization", extra="onnx")
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out) as workplace, _quiet_root_logger():
        graphs = {}
        for name in (name for name in GRAPHS if (folder / f"{name}.onnx").is_file()):
            partial = Path(workplace) / f"{name}.onnx"
            quantization.quantize_dynamic(
                folder / partial.name, partial, op_types_to_quantize=["MatMul"], per_channel=True,
                weight_type=quantization.QuantType.QInt8, use_external_data_format=True,
            )  # fmt: skip
            graphs[name] = ir.load(partial)
        save_sharing_weights(graphs, out)
    for name in filter(lambda name: (folder / name).is_file(), _SETTINGS):
        shutil.copyfile(folder / name, out / name)
    return out


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Suppress messages: ONNX Runtime's quantiser logs every node to the root logger, and may install a handler there."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_reject)  # applies to records logged on the root itself; records of other loggers pass
    try:
        yield
    finally:
        root.removeFilter(_reject)
        root.removeHandler(handler)


def _reject(record: logging.LogRecord) -> bool:
    return False
