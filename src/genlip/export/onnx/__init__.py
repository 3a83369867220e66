"""ONNX: a GenLIP for ONNX Runtime, and a runner that works without PyTorch.

`export_onnx_folder(model, out)` writes a folder; `OnnxEncoder(out)` and `OnnxCaptioner(out)` open it. Each name is imported
when it is first used, so that the runner works if PyTorch is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genlip.lazy import lazy

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
__getattr__, __dir__ = lazy(__name__, _HOMES)
