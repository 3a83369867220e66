"""Encoding in 8 bits on a CPU: int8 weights with one range each; activations are quantised at run time.

In: a model in float32. Out: the same model, whose blocks multiply in int8. It gives features only: captions need the
    original weights. The activations of a call share one range, so the features of an image depend slightly on the other
    images of its batch. PyTorch calls this dynamic quantisation and has deprecated it. If a later release removes it, the
    error names the alternative, `genlip export --to onnx --int8`.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from genlip.model.genlip import GenLIP
from genlip.terminal import program

__all__ = ["quantize_encoder"]


def quantize_encoder(model: GenLIP) -> GenLIP:
    """Replace the linear maps of every block by int8 ones, in place, and return the model.

    Raises ValueError where the model is not in float32 on a CPU, or this PyTorch has no dynamic quantisation.
    """
    weight = model.ln_post.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        kind = str(weight.dtype).removeprefix("torch.")
        raise ValueError(f"int8 encoding needs a model in float32 on a CPU, and this one is in {kind} on {weight.device}")
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        raise ValueError(
            f"PyTorch {torch.__version__} has no dynamic quantisation; use {program()} export … --to onnx --int8"
        ) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*deprecated", module=r"torch\..*|genlip\..*")
        quantize_dynamic(model.visual, {nn.Linear}, dtype=torch.qint8, inplace=True)
    return model
