"""The command `genlip export`: a model in the layout of another library.

In: a model's folder, or its id on the Hub. Out: a folder for another library.
"""

from __future__ import annotations

import argparse
from typing import Any

from genlip.cli.parser import add_command
from genlip.export import FORMATS, export_model
from genlip.report.formatting import size
from genlip.terminal import say

__all__ = ["add_export"]

_EXAMPLE = """\
published     config.json and model.safetensors with the names of the released checkpoints; also genlip's own layout
transformers  for AutoModel, AutoModelForImageTextToText and AutoProcessor; genlip reads it as well
timm          for timm.create_model("local-dir:OUT"): the encoder; genlip is not needed to load it
onnx          encoder.onnx, prefill.onnx and step.onnx, for the runner in genlip.export.onnx, which needs no PyTorch

  genlip export runs/quickstart/model hf --to transformers --remote-code
  genlip export YanFang/GenLIP-L16-224 onnx --to onnx --tokenizer Qwen/Qwen3-0.6B
  genlip export MODEL small --to published --dtype bfloat16

python: genlip.export_model(MODEL, OUT, to="onnx")"""


def add_export(commands: Any) -> None:
    """Add `genlip export`."""
    parser = add_command(
        commands, "export", _export, "write a model for Transformers, timm, ONNX Runtime or other readers", _EXAMPLE
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a model, or its id on the Hugging Face Hub")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--to", choices=FORMATS, required=True, help="format to write")
    dtypes = ("float32", "bfloat16", "float16")
    parser.add_argument("--dtype", choices=dtypes, help="published, transformers: dtype of the weights (default: unchanged)")
    parser.add_argument("--tokenizer", help="tokenizer.json, folder or Hub id, if the model's folder has none")
    parser.add_argument("--remote-code", action="store_true", help="transformers: add the code, for use without genlip")
    parser.add_argument("--encoder-only", action="store_true", help="onnx: leave out the captioner")
    parser.add_argument("--int8", action="store_true", help="onnx: store weights of matrix products in 8 bits")


def _export(args: argparse.Namespace) -> None:
    import torch

    written = export_model(
        args.model,
        args.out,
        args.to,
        dtype=getattr(torch, args.dtype) if args.dtype else None,
        tokenizer=args.tokenizer,
        remote_code=args.remote_code,
        captions=not args.encoder_only,
        int8=args.int8,
    )
    files = [file for file in written.iterdir() if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    say(f"{args.to}: {written}, {len(files)} files, {size(total, 'MB')}; docs/use.md shows how to use it")
