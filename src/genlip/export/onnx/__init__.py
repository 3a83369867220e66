"""ONNX: a GenLIP for ONNX Runtime, and a runner that needs no PyTorch.

`export_onnx_folder(model, out)` writes a folder; `OnnxEncoder(out)` and `OnnxCaptioner(out)` read images with it. The parts
are imported when they are first used, so that the runner works where PyTorch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genlip.export.onnx.convert import export_onnx, export_onnx_folder
    from genlip.export.onnx.quantize import quantize_folder
    from genlip.export.onnx.runner import OnnxCaptioner, OnnxEncoder

__all__ = ["OnnxCaptioner", "OnnxEncoder", "export_onnx", "export_onnx_folder", "quantize_folder"]

_HOMES = {
    "OnnxCaptioner": "runner",
    "OnnxEncoder": "runner",
    "export_onnx": "convert",
    "export_onnx_folder": "convert",
    "quantize_folder": "quantize",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'genlip.export.onnx' has no attribute {name!r}")
    return getattr(import_module(f"genlip.export.onnx.{_HOMES[name]}"), name)
