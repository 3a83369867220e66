"""Conversion: a GenLIP as ONNX files, with all other files that the runner needs.

In: a model, or the folder of one. Out: a folder with `encoder.onnx`, and `prefill.onnx` and `step.onnx` for captions.
All numbers are float32, whatever the model's precision, since every runtime supports it. The graphs share their weights,
which are stored once in `weights.bin`.

>>> export_onnx_folder("runs/quickstart/model", "onnx")  # doctest: +SKIP
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from genlip.data.preprocessing import load_captions, save_preprocessing
from genlip.export.folders import replaced, source_and_target
from genlip.export.onnx.graphs import EncoderGraph, PrefillGraph, StepGraph
from genlip.export.onnx.quantize import quantize_folder
from genlip.export.onnx.weights import save_sharing_weights
from genlip.extras import require
from genlip.model.checkpoint import load
from genlip.model.genlip import GenLIP
from genlip.model.writing import write_json

__all__ = ["export_onnx", "export_onnx_folder"]

# Every release of ONNX Runtime that is still in use supports it, and the graphs need no newer one.
_OPSET = 18


def export_onnx(model: GenLIP, folder: str | os.PathLike[str], captions: bool = True) -> Path:
    """Write a model's graphs, their weights and `config.json`; returns the folder.

    encoder.onnx  pixel_values -> features
    prefill.onnx  pixel_values -> logits, cache (with `captions`)
    step.onnx     token_ids, position, cache -> logits, cache (with `captions`)

    Shapes are those of `genlip.export.onnx.graphs`; batch, grid, prompt and cache length are dynamic. The model is not
    changed. Raises `MissingExtra` if onnx or onnxscript is not installed.
    """
    for library in ("onnx", "onnxscript"):
        require(library, extra="onnx")
    folder, model = Path(folder), _for_tracing(model)
    graphs = {"encoder": _trace_images(EncoderGraph(model), "features")}
    if captions:
        graphs["prefill"] = _trace_images(PrefillGraph(model), "logits", "cache")
        graphs["step"] = _trace_step(StepGraph(model))
    folder.mkdir(parents=True, exist_ok=True)
    save_sharing_weights(graphs, folder)
    write_json(folder / "config.json", model.config.to_dict())
    return folder


def export_onnx_folder(
    model_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    captions: bool = True,
    *,
    int8: bool = False,
    tokenizer: str | os.PathLike[str] | None = None,
) -> Path:
    """`export_onnx` for a model's folder or Hub repository, with preprocessing settings and tokenizer; returns `out`.

    int8       weights in 8 bits, see `quantize_folder`
    tokenizer  a tokenizer.json, folder or Hub id, if the model's folder has none

    Files of an older export in `out` are removed once the new graphs are written, see `genlip.export.folders.replaced`.
    Raises `CheckpointError`. Raises ValueError if `out` is the model's folder, or if captions are requested without a
    tokenizer that fits the model.
    """
    source, out = source_and_target(model_folder, out)
    for library in ("onnx", "onnxscript", *(["onnxruntime"] if int8 else [])):
        require(library, extra="onnx")  # before minutes of tracing
    model = load(source)
    settings, found = load_captions(source, model.config.vocab_size, tokenizer)
    if captions and found is None:
        raise ValueError(
            f"{source} has no tokenizer.json, which captions need: name one, for published models Qwen/Qwen3-0.6B, "
            "or export only the encoder (captions=False)"
        )
    with replaced(out) as workplace:
        with TemporaryDirectory(dir=workplace) as rough:
            quantize_folder(export_onnx(model, rough, captions), workplace) if int8 else export_onnx(
                model, workplace, captions
            )
        if found is not None:
            save_preprocessing(workplace, settings, found.tokenizer)
        elif (source / "preprocessing.json").is_file():
            shutil.copyfile(source / "preprocessing.json", workplace / "preprocessing.json")
    return out


def _for_tracing(model: GenLIP) -> GenLIP:
    """A copy of the model in float32 on the CPU, in evaluation mode; weights that already fit are shared."""
    with torch.device("meta"):
        copy = GenLIP(model.config)
    weights = {name: value.detach().to("cpu", torch.float32) for name, value in model.state_dict().items()}
    copy.load_state_dict(weights, assign=True)
    return copy.eval()


def _trace_images(graph: EncoderGraph | PrefillGraph, *outputs: str) -> Any:
    config = graph.model.config
    # Different sizes, all above 1: tracing would specialise the graph on equal sizes and on size 1.
    pixels = torch.zeros(2, config.num_channels, 3 * config.patch_size, 5 * config.patch_size)
    shapes = ({0: Dim("batch"), 2: Dim("height"), 3: Dim("width")},)
    return _trace(graph, (pixels,), shapes, ["pixel_values"], list(outputs))


def _trace_step(graph: StepGraph) -> Any:
    config, batch, tokens, past = graph.model.config, 2, 3, 5
    token_ids, position = torch.zeros(batch, tokens, dtype=torch.long), torch.full((batch,), 7)
    cache = torch.zeros(config.num_hidden_layers, 2, batch, config.num_attention_heads, past, config.head_dim)
    rows = Dim("batch")
    shapes = ({0: rows, 1: Dim("tokens")}, {0: rows}, {2: rows, 4: Dim("past")})
    return _trace(graph, (token_ids, position, cache), shapes, ["token_ids", "position", "cache"], ["logits", "grown_cache"])


def _trace(graph: nn.Module, inputs: tuple[Any, ...], shapes: tuple[Any, ...], names: list[str], outputs: list[str]) -> Any:
    """The graph as an `onnx_ir.Model`."""
    with torch.no_grad(), warnings.catch_warnings():
        # The step's inputs share their batch axis on purpose.
        warnings.filterwarnings("ignore", message="# The axis name: batch will not be used", category=UserWarning)
        # PyTorch 2.11 raises this warning about its own code.
        warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated", category=FutureWarning)
        program: Any = torch.onnx.export(
            graph.eval(), inputs, input_names=names, output_names=outputs, dynamic_shapes=shapes,
            dynamo=True, opset_version=_OPSET, verbose=False,
        )  # fmt: skip
    require("onnx_ir.passes.common", extra="onnx").ClearMetadataAndDocStringPass()(program.model)  # it holds file paths
    return program.model
